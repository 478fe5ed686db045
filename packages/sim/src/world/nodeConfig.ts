// What the supervisor and the gateway of a simulated node are configured with.
import { Secret } from "@torpor/kernel";
import type { GatewayConfig } from "@torpor/gateway";
import { readConfig, type SupervisorConfig } from "@torpor/supervisor";
import type { PlaneSettings } from "../scenario/scenario.ts";

const GATEWAY_TOKEN = "gateway-token-for-simulation";
const MEMORY_KEY = new Secret(Buffer.alloc(32, 7).toString("base64"));

const CONFIGS = new Map<string, SupervisorConfig>();

export function supervisorConfig(settings: PlaneSettings, name: string): SupervisorConfig {
  const env = {
    TRIGGER_API_URL: "http://platform",
    TRIGGER_WORKER_TOKEN: "tr_wgt_sim",
    MANAGED_WORKER_SECRET: "managed-secret-value",
    OTEL_EXPORTER_OTLP_ENDPOINT: "http://platform/otel",
    TRIGGER_WORKER_INSTANCE_NAME: name,
    COMPUTE_GATEWAY_URL: "http://127.0.0.1:1",
    COMPUTE_GATEWAY_AUTH_TOKEN: GATEWAY_TOKEN,
    COMPUTE_SNAPSHOTS_ENABLED: "true",
    COMPUTE_SNAPSHOT_DELAY_MS: String(settings.snapshotDelayMs),
    COMPUTE_SNAPSHOT_DISPATCH_LIMIT: String(settings.dispatchLimit),
    TORPOR_SNAPSHOT_HOLD_MS: String(settings.holdMs),
    TORPOR_SOCKET_GRACE_MS: String(settings.socketGraceMs),
    RUNNER_HEARTBEAT_INTERVAL_SECONDS: String(settings.heartbeatSeconds),
    RUNNER_SNAPSHOT_POLL_INTERVAL_SECONDS: String(settings.pollSeconds),
    TRIGGER_DEQUEUE_MAX_CONSUMER_COUNT: String(settings.consumers),
    TORPOR_IDLE_RUNNER_MS: "90000",
    METRICS_ENABLED: "false",
    ...(settings.warmStarts ? { TRIGGER_WARM_START_DISPATCH_URL: "http://broker", TRIGGER_WARM_START_KEEPALIVE_MS: "60000" } : {}),
  };
  const key = JSON.stringify(env);
  const known = CONFIGS.get(key) ?? readConfig(env, { instanceName: () => name });
  CONFIGS.set(key, known);
  return known;
}

export function gatewayConfig(settings: PlaneSettings, name: string): GatewayConfig {
  return {
    token: new Secret(GATEWAY_TOKEN),
    listen: { host: "127.0.0.1", port: 0 },
    stateDir: `/sim/${name}`,
    imageStoreDir: `/sim/${name}`,
    driver: "process",
    planeId: name,
    runscBinary: "",
    runDir: "",
    services: [],
    egress: "none",
    addressBlock: undefined,
    sandboxDiskBytes: 1,
    cpuLimit: "weight" as GatewayConfig["cpuLimit"],
    templates: { enabled: false, maxCount: 0, maxBytes: 0 },
    maxSpares: 0,
    maxSandboxes: 64,
    maxStarts: 4,
    maxSnapshots: settings.maxSnapshots,
    holdMs: settings.holdMs,
    minFreeDiskBytes: 1024,
    frozenBytes: 0,
    minFreeMemoryBytes: 1024,
    memoryKey: MEMORY_KEY,
    memoryQuotaBytes: undefined,
    stagingBytes: 8 * 1024 ** 3,
    onExit: "keep",
    logLevel: "error",
  };
}
