import { createHash } from "node:crypto";
import { realpathSync } from "node:fs";
import type { PlaneSecrets } from "./secrets.ts";

/** Loopback ports of a plane's servers. */
export interface PlanePorts {
  readonly api: number;
  readonly workload: number;
  readonly gateway: number;
  readonly warmStart: number;
  readonly database: number;
}

export interface PlaneConfig {
  readonly planeId: string;
  readonly dataDir: string;
  readonly stateDir: string;
  readonly driver: "gvisor" | "process";
  readonly ports: PlanePorts;
  readonly secrets: PlaneSecrets;
  readonly databaseUrl: string;
  /** From `prepareMachine`, and whatever the user's own environment sets for a part. */
  readonly env: Readonly<Record<string, string>>;
}

/** The same data directory always has the same id: sandboxes left by a plane are found again by it. */
export function planeIdOf(dataDir: string): string {
  return createHash("sha256").update(realpathSync(dataDir)).digest("hex").slice(0, 6);
}

/** Address that a sandbox knows everything by, and the ports on it; what they lead to may change between starts. */
const GUEST = { host: "169.254.169.254", workloadPort: 8020, apiPort: 3030 } as const;

/** What tasks and runners call the platform and the supervisor. Runners wait for runs at their supervisor: nothing of the broker is theirs to reach. */
export function addressesFor({ driver, ports }: Pick<PlaneConfig, "driver" | "ports">) {
  if (driver === "gvisor") {
    return {
      apiOrigin: `http://${GUEST.host}:${GUEST.apiPort}`,
      workloadDomain: GUEST.host,
      workloadPort: GUEST.workloadPort,
      metadataUrl: `http://${GUEST.host}`,
    };
  }
  return {
    apiOrigin: `http://127.0.0.1:${ports.api}`,
    workloadDomain: "127.0.0.1",
    workloadPort: ports.workload,
    metadataUrl: undefined,
  };
}

// What each part is told by the plane. It goes over `env`, which all parts are given: a user's own setting never moves a plane's files.

/** Environment of the platform. */
export function platformEnv(config: PlaneConfig): Record<string, string> {
  const { apiOrigin } = addressesFor(config);
  const { secrets, ports } = config;
  return {
    DATABASE_URL: config.databaseUrl,
    HOST: "127.0.0.1",
    PORT: String(ports.api),
    TORPOR_API_ORIGIN: `http://127.0.0.1:${ports.api}`,
    TORPOR_SANDBOX_API_ORIGIN: apiOrigin,
    TORPOR_ADMIN_TOKEN: secrets.adminToken.reveal(),
    TORPOR_ENCRYPTION_KEY: secrets.encryptionKey.reveal(),
    MANAGED_WORKER_SECRET: secrets.managedSecret.reveal(),
    TRIGGER_WORKER_TOKEN: secrets.workerToken.reveal(),
  };
}

/** Environment of the gateway. */
export function gatewayEnv(config: PlaneConfig): Record<string, string> {
  const { ports, secrets, dataDir, stateDir, driver, planeId } = config;
  const services = [`${GUEST.workloadPort}=127.0.0.1:${ports.workload}`, `${GUEST.apiPort}=127.0.0.1:${ports.api}`];
  return {
    TORPOR_GATEWAY_HOST: "127.0.0.1",
    TORPOR_GATEWAY_PORT: String(ports.gateway),
    COMPUTE_GATEWAY_AUTH_TOKEN: secrets.gatewayToken.reveal(),
    TORPOR_GATEWAY_PLANE: planeId,
    TORPOR_GATEWAY_DRIVER: driver,
    TORPOR_STATE_DIR: dataDir,
    TORPOR_IMAGE_STORE: stateDir,
    TORPOR_GATEWAY_SERVICES: driver === "gvisor" ? services.join(",") : "",
  };
}

/** Environment of the supervisor. */
export function supervisorEnv(config: PlaneConfig): Record<string, string> {
  const { ports, secrets, driver, planeId } = config;
  const addresses = addressesFor(config);
  const metadata: Record<string, string> = addresses.metadataUrl === undefined ? {} : { TRIGGER_METADATA_URL: addresses.metadataUrl };
  return {
    ...metadata,
    TRIGGER_API_URL: `http://127.0.0.1:${ports.api}`,
    TRIGGER_WORKER_TOKEN: secrets.workerToken.reveal(),
    MANAGED_WORKER_SECRET: secrets.managedSecret.reveal(),
    TRIGGER_WORKER_INSTANCE_NAME: `torpor-${planeId}`,
    OTEL_EXPORTER_OTLP_ENDPOINT: `${addresses.apiOrigin}/otel`,
    TRIGGER_WORKLOAD_API_HOST_INTERNAL: "127.0.0.1",
    TRIGGER_WORKLOAD_API_PORT_INTERNAL: String(ports.workload),
    TRIGGER_WORKLOAD_API_DOMAIN: addresses.workloadDomain,
    TRIGGER_WORKLOAD_API_PORT_EXTERNAL: String(addresses.workloadPort),
    COMPUTE_GATEWAY_URL: `http://127.0.0.1:${ports.gateway}`,
    COMPUTE_GATEWAY_AUTH_TOKEN: secrets.gatewayToken.reveal(),
    COMPUTE_SNAPSHOTS_ENABLED: driver === "gvisor" ? "true" : "false",
    TORPOR_SNAPSHOT_CALLBACK_URL: `http://127.0.0.1:${ports.workload}/api/v1/compute/snapshot-complete`,
    TRIGGER_WARM_START_DISPATCH_URL: `http://127.0.0.1:${ports.warmStart}`,
    METRICS_PORT: "0",
  };
}

/** Environment of the warm-start broker. */
export function warmStartEnv({ ports }: PlaneConfig): Record<string, string> {
  return { TORPOR_WARM_START_HOST: "127.0.0.1", TORPOR_WARM_START_PORT: String(ports.warmStart) };
}
