// The supervisor's settings. Names that a Trigger.dev operator knows are kept; those that only this one has begin with TORPOR_.
// This file alone reads the environment, by argument.
import { readFileSync } from "node:fs";
import { Secret } from "@torpor/kernel";
import { EnvSchema, type Settings } from "./settings.ts";

type Env = Readonly<Record<string, string | undefined>>;

const MS_PER_S = 1000;

/** Thrown when a setting is missing or wrong. The message names each variable and what to set. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
}

/** Reads and checks the environment. Secrets come out as `Secret`; `file://…` in TRIGGER_WORKER_TOKEN is read from that file. */
export function readConfig(env: Env, options: { readonly instanceName: () => string }) {
  const e = checked(env);
  requireTogether(e);
  return {
    instanceName: e.TRIGGER_WORKER_INSTANCE_NAME ?? options.instanceName(),
    platform: {
      url: e.TRIGGER_API_URL,
      token: new Secret(tokenText(e.TRIGGER_WORKER_TOKEN)),
      managedSecret: new Secret(e.MANAGED_WORKER_SECRET),
      heartbeatMs: e.TRIGGER_WORKER_HEARTBEAT_INTERVAL_SECONDS * MS_PER_S,
    },
    workload: workloadConfig(e),
    runner: runnerConfig(e),
    dequeue: dequeueConfig(e),
    warmStart: warmStartConfig(e),
    gateway: {
      url: e.COMPUTE_GATEWAY_URL,
      token: e.COMPUTE_GATEWAY_AUTH_TOKEN === undefined ? undefined : new Secret(e.COMPUTE_GATEWAY_AUTH_TOKEN),
      timeoutMs: e.COMPUTE_GATEWAY_TIMEOUT_MS,
      createAttempts: e.COMPUTE_INSTANCE_CREATE_MAX_ATTEMPTS,
      createRetryBaseMs: e.COMPUTE_INSTANCE_CREATE_RETRY_BASE_DELAY_MS,
    },
    snapshots: snapshotsConfig(e),
    sweepIntervalMs: e.TORPOR_SWEEP_INTERVAL_MS,
    idleRunnerMs: e.TORPOR_IDLE_RUNNER_MS,
    drainMs: e.TORPOR_DRAIN_MS,
    logLevel: e.DEBUG ? ("debug" as const) : ("info" as const),
    metrics: e.METRICS_ENABLED ? ({ kind: "on", host: e.METRICS_HOST, port: e.METRICS_PORT } as const) : ({ kind: "off" } as const),
    stopWithStdin: e.TORPOR_STOP_WITH_STDIN,
  };
}

export type SupervisorConfig = ReturnType<typeof readConfig>;

function workloadConfig(e: Settings) {
  const enforcement = e.WORKLOAD_TOKEN_ENFORCEMENT;
  return {
    listen: { host: e.TRIGGER_WORKLOAD_API_HOST_INTERNAL, port: e.TRIGGER_WORKLOAD_API_PORT_INTERNAL },
    protocol: e.TRIGGER_WORKLOAD_API_PROTOCOL,
    domain: e.TRIGGER_WORKLOAD_API_DOMAIN ?? "127.0.0.1",
    /** 0: the port that it listens on. */
    externalPort: e.TRIGGER_WORKLOAD_API_PORT_EXTERNAL,
    token:
      enforcement === "disabled"
        ? ({ kind: "off" } as const)
        : ({
            kind: "on",
            enforce: enforcement === "enforce",
            secret: new Secret(e.WORKLOAD_TOKEN_SECRET ?? ""),
            expiresAt: e.WORKLOAD_TOKEN_EXP,
          } as const),
    /** How long a runner may be silent after its socket was lost before it loses its sleep (L3). */
    socketGraceMs: e.TORPOR_SOCKET_GRACE_MS,
  };
}

function runnerConfig(e: Settings) {
  return {
    otlpEndpoint: e.OTEL_EXPORTER_OTLP_ENDPOINT,
    heartbeatSeconds: e.RUNNER_HEARTBEAT_INTERVAL_SECONDS,
    pollSeconds: e.RUNNER_SNAPSHOT_POLL_INTERVAL_SECONDS,
    metadataUrl: e.TRIGGER_METADATA_URL,
    warmStartUrl: e.TRIGGER_WARM_START_URL,
    prettyLogs: e.RUNNER_PRETTY_LOGS,
    sendDebugLogs: e.SEND_RUN_DEBUG_LOGS,
    additionalEnv: additionalEnv(e.RUNNER_ADDITIONAL_ENV_VARS),
  };
}

function dequeueConfig(e: Settings) {
  return {
    enabled: e.TRIGGER_DEQUEUE_ENABLED,
    queueClass: e.TRIGGER_WORKER_QUEUE_CLASS,
    consumerCount: e.TRIGGER_DEQUEUE_MAX_CONSUMER_COUNT,
    intervalMs: e.TRIGGER_DEQUEUE_INTERVAL_MS,
    idleIntervalMs: e.TRIGGER_DEQUEUE_IDLE_INTERVAL_MS,
    timeoutMs: e.TORPOR_DEQUEUE_TIMEOUT_MS,
    cpuOvercommit: e.TORPOR_CPU_OVERCOMMIT,
    memoryOvercommit: e.TORPOR_MEMORY_OVERCOMMIT,
  };
}

function warmStartConfig(e: Settings) {
  const dispatchUrl = e.TRIGGER_WARM_START_DISPATCH_URL ?? e.TRIGGER_WARM_START_URL;
  if (dispatchUrl === undefined) return { kind: "off" } as const;
  return {
    kind: "on",
    dispatchUrl,
    verifyDelayMs: e.TRIGGER_WARM_START_VERIFY_ENABLED ? e.TRIGGER_WARM_START_VERIFY_DELAY_MS : undefined,
    /** How long a runner that was given a run may take to show that it has it; then the run is another's (L12). */
    signWithinMs: e.TRIGGER_WARM_START_VERIFY_DELAY_MS,
    /** How long an idle runner is kept while nothing is known of its deployment's arrivals; 0: runners exit after their run. */
    keepAliveMs: e.TRIGGER_WARM_START_KEEPALIVE_MS,
    /** No idle runner is kept longer, whatever its deployment's arrivals say. */
    maxKeepAliveMs: e.TRIGGER_WARM_START_KEEPALIVE_MS === 0 ? 0 : e.TORPOR_WARM_START_MAX_KEEPALIVE_MS,
    /** Idle runners of this node: beyond that, who has waited longest leaves. */
    maxIdle: e.TORPOR_WARM_START_MAX_IDLE,
    /** How long one poll of a runner lasts. Below the 300 s after which Node's own client gives up on an answer. */
    connectionMs: e.TORPOR_WARM_START_CONNECTION_MS,
  } as const;
}

function snapshotsConfig(e: Settings) {
  if (!e.COMPUTE_SNAPSHOTS_ENABLED) return { kind: "off" } as const;
  return {
    kind: "on",
    /** Null: decided by cost, run by run. */
    fixedDelayMs: e.COMPUTE_SNAPSHOT_DELAY_MS ?? null,
    dispatchLimit: e.COMPUTE_SNAPSHOT_DISPATCH_LIMIT,
    holdMs: e.TORPOR_SNAPSHOT_HOLD_MS,
    timeoutMs: e.TORPOR_SNAPSHOT_TIMEOUT_MS,
    callbackUrl: e.TORPOR_SNAPSHOT_CALLBACK_URL,
  } as const;
}

function checked(env: Env): Settings {
  const given = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== undefined && value !== ""));
  const parsed = EnvSchema.safeParse(given);
  if (parsed.success) return parsed.data;
  const lines = parsed.error.issues.map((issue) => {
    const name = String(issue.path[0]);
    return given[name] === undefined ? `${name} is not set: set it, it has no default` : `${name} ${issue.message}`;
  });
  throw new ConfigError(`Cannot start the supervisor:\n  ${lines.join("\n  ")}`);
}

/** Features are off or whole: what a feature needs is asked for at start, not found missing at the first run. */
function requireTogether(e: Settings): void {
  if (e.WORKLOAD_TOKEN_ENFORCEMENT !== "disabled" && e.WORKLOAD_TOKEN_SECRET === undefined) {
    throw new ConfigError(
      "Cannot start the supervisor: WORKLOAD_TOKEN_ENFORCEMENT is on, so WORKLOAD_TOKEN_SECRET (16 characters or more) must be set",
    );
  }
}

function tokenText(value: string): string {
  if (!value.startsWith("file://")) return value;
  const path = value.slice("file://".length);
  try {
    return readFileSync(path, "utf8").trim();
  } catch (error) {
    throw new ConfigError(
      `Cannot start the supervisor: TRIGGER_WORKER_TOKEN names ${path}, which cannot be read: ${(error as Error).message}`,
      { cause: error },
    );
  }
}

function additionalEnv(text: string | undefined): Readonly<Record<string, string>> {
  if (text === undefined) return {};
  return Object.fromEntries(
    text.split(",").map((pair) => {
      const at = pair.indexOf("=");
      if (at < 1)
        throw new ConfigError(
          `Cannot start the supervisor: RUNNER_ADDITIONAL_ENV_VARS must be name=value pairs joined by commas, not ${JSON.stringify(pair)}`,
        );
      return [pair.slice(0, at).trim(), pair.slice(at + 1)];
    }),
  );
}
