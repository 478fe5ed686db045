// The supervisor's settings. Names that a Trigger.dev operator knows are kept; those that only this one has begin with TORPOR_.
// This file alone reads the environment, by argument.
import { readFileSync } from "node:fs";
import { Secret } from "@torpor/kernel";
import { z } from "zod";

type Env = Readonly<Record<string, string | undefined>>;

const MS_PER_S = 1000;

/** An unset variable and an empty one mean the same: many init systems cannot unset. */
const flag = (fallback: boolean) => z.enum(["true", "false", "1", "0"], "must be true or false").optional().transform((text) => (text === undefined ? fallback : text === "true" || text === "1"));
const int = (fallback: number, min: number, max: number) =>
  z.string().regex(/^\d+$/, `must be a whole number from ${min} to ${max}`).optional().transform((text) => (text === undefined ? fallback : Number(text))).pipe(z.number().min(min).max(max));
const httpUrl = z.url({ protocol: /^https?$/, error: "must be an http or https URL" });
const port = (fallback: number) => int(fallback, 0, 65_535);

const EnvSchema = z.object({
  TRIGGER_API_URL: httpUrl,
  TRIGGER_WORKER_TOKEN: z.string().min(1),
  MANAGED_WORKER_SECRET: z.string().min(1),
  OTEL_EXPORTER_OTLP_ENDPOINT: httpUrl,
  TRIGGER_WORKER_INSTANCE_NAME: z.string().min(1).max(200).optional(),
  TRIGGER_WORKER_HEARTBEAT_INTERVAL_SECONDS: int(30, 1, 600),

  TRIGGER_WORKLOAD_API_PROTOCOL: z.enum(["http", "https"]).default("http"),
  TRIGGER_WORKLOAD_API_DOMAIN: z.string().min(1).optional(),
  TRIGGER_WORKLOAD_API_HOST_INTERNAL: z.string().min(1).default("127.0.0.1"),
  TRIGGER_WORKLOAD_API_PORT_INTERNAL: port(8020),
  TRIGGER_WORKLOAD_API_PORT_EXTERNAL: port(0),

  RUNNER_HEARTBEAT_INTERVAL_SECONDS: int(20, 1, 600),
  RUNNER_SNAPSHOT_POLL_INTERVAL_SECONDS: int(2, 1, 600),
  RUNNER_ADDITIONAL_ENV_VARS: z.string().optional(),
  RUNNER_PRETTY_LOGS: flag(false),
  SEND_RUN_DEBUG_LOGS: flag(false),

  TRIGGER_DEQUEUE_ENABLED: flag(true),
  TRIGGER_WORKER_QUEUE_CLASS: z.string().default("default"),
  TRIGGER_DEQUEUE_INTERVAL_MS: int(0, 0, 60_000),
  TRIGGER_DEQUEUE_IDLE_INTERVAL_MS: int(1000, 0, 60_000),
  TRIGGER_DEQUEUE_MAX_CONSUMER_COUNT: int(4, 1, 100),
  TORPOR_DEQUEUE_TIMEOUT_MS: int(25_000, 1000, 120_000),
  TORPOR_CPU_OVERCOMMIT: z.string().regex(/^\d+(\.\d+)?$/, "must be a number").optional().transform((text) => Number(text ?? 4)).pipe(z.number().min(0.1).max(1000)),
  TORPOR_MEMORY_OVERCOMMIT: z.string().regex(/^\d+(\.\d+)?$/, "must be a number").optional().transform((text) => Number(text ?? 1)).pipe(z.number().min(0.1).max(1000)),

  TRIGGER_WARM_START_URL: httpUrl.optional(),
  TRIGGER_WARM_START_DISPATCH_URL: httpUrl.optional(),
  TRIGGER_WARM_START_VERIFY_ENABLED: flag(true),
  TRIGGER_WARM_START_VERIFY_DELAY_MS: int(1000, 100, 60_000),

  TRIGGER_METADATA_URL: httpUrl.optional(),
  COMPUTE_GATEWAY_URL: httpUrl,
  COMPUTE_GATEWAY_AUTH_TOKEN: z.string().min(1).optional(),
  COMPUTE_GATEWAY_TIMEOUT_MS: int(30_000, 1000, 300_000),
  COMPUTE_SNAPSHOTS_ENABLED: flag(false),
  COMPUTE_SNAPSHOT_DELAY_MS: int(5000, 0, 60_000),
  COMPUTE_SNAPSHOT_DISPATCH_LIMIT: int(10, 1, 100),
  COMPUTE_INSTANCE_CREATE_MAX_ATTEMPTS: int(3, 1, 10),
  COMPUTE_INSTANCE_CREATE_RETRY_BASE_DELAY_MS: int(250, 0, 10_000),
  TORPOR_SNAPSHOT_HOLD_MS: int(120_000, 10_000, 300_000),
  TORPOR_SNAPSHOT_TIMEOUT_MS: int(60_000, 1000, 600_000),
  TORPOR_SNAPSHOT_CALLBACK_URL: httpUrl.optional(),
  TORPOR_SOCKET_GRACE_MS: int(30_000, 1000, 600_000),
  TORPOR_SWEEP_INTERVAL_MS: int(15_000, 1000, 3_600_000),
  TORPOR_IDLE_RUNNER_MS: int(600_000, 10_000, 86_400_000),
  TORPOR_DRAIN_MS: int(8000, 0, 60_000),

  WORKLOAD_TOKEN_ENFORCEMENT: z.enum(["disabled", "log", "enforce"]).default("disabled"),
  WORKLOAD_TOKEN_SECRET: z.string().min(16).optional(),
  WORKLOAD_TOKEN_EXP: z.coerce.date("must be a date").default(new Date("2032-01-01T00:00:00Z")),

  DEBUG: flag(false),
  METRICS_ENABLED: flag(true),
  METRICS_HOST: z.string().default("127.0.0.1"),
  METRICS_PORT: port(9090),
  TORPOR_STOP_WITH_STDIN: flag(false),
});

type Read = z.infer<typeof EnvSchema>;

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

function workloadConfig(e: Read) {
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
        : ({ kind: "on", enforce: enforcement === "enforce", secret: new Secret(e.WORKLOAD_TOKEN_SECRET ?? ""), expiresAt: e.WORKLOAD_TOKEN_EXP } as const),
    /** How long a runner may be silent after its socket was lost before it loses its sleep (L3). */
    socketGraceMs: e.TORPOR_SOCKET_GRACE_MS,
  };
}

function runnerConfig(e: Read) {
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

function dequeueConfig(e: Read) {
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

function warmStartConfig(e: Read) {
  const dispatchUrl = e.TRIGGER_WARM_START_DISPATCH_URL ?? e.TRIGGER_WARM_START_URL;
  if (dispatchUrl === undefined) return { kind: "off" } as const;
  return { kind: "on", dispatchUrl, verifyDelayMs: e.TRIGGER_WARM_START_VERIFY_ENABLED ? e.TRIGGER_WARM_START_VERIFY_DELAY_MS : undefined } as const;
}

function snapshotsConfig(e: Read) {
  if (!e.COMPUTE_SNAPSHOTS_ENABLED) return { kind: "off" } as const;
  return {
    kind: "on",
    delayMs: e.COMPUTE_SNAPSHOT_DELAY_MS,
    dispatchLimit: e.COMPUTE_SNAPSHOT_DISPATCH_LIMIT,
    holdMs: e.TORPOR_SNAPSHOT_HOLD_MS,
    timeoutMs: e.TORPOR_SNAPSHOT_TIMEOUT_MS,
    callbackUrl: e.TORPOR_SNAPSHOT_CALLBACK_URL,
  } as const;
}

function checked(env: Env): Read {
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
function requireTogether(e: Read): void {
  if (e.WORKLOAD_TOKEN_ENFORCEMENT !== "disabled" && e.WORKLOAD_TOKEN_SECRET === undefined) {
    throw new ConfigError("Cannot start the supervisor: WORKLOAD_TOKEN_ENFORCEMENT is on, so WORKLOAD_TOKEN_SECRET (16 characters or more) must be set");
  }
}

function tokenText(value: string): string {
  if (!value.startsWith("file://")) return value;
  const path = value.slice("file://".length);
  try {
    return readFileSync(path, "utf8").trim();
  } catch (error) {
    throw new ConfigError(`Cannot start the supervisor: TRIGGER_WORKER_TOKEN names ${path}, which cannot be read: ${(error as Error).message}`, { cause: error });
  }
}

function additionalEnv(text: string | undefined): Readonly<Record<string, string>> {
  if (text === undefined) return {};
  return Object.fromEntries(
    text.split(",").map((pair) => {
      const at = pair.indexOf("=");
      if (at < 1) throw new ConfigError(`Cannot start the supervisor: RUNNER_ADDITIONAL_ENV_VARS must be name=value pairs joined by commas, not ${JSON.stringify(pair)}`);
      return [pair.slice(0, at).trim(), pair.slice(at + 1)];
    }),
  );
}
