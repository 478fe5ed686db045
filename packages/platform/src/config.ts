import { Secret } from "@torpor/kernel";
import { z } from "zod";

// The platform's settings, read from an environment that is passed in. Times are in milliseconds.

const Port = z.coerce.number().int().min(0).max(65_535);
const Ms = (defaultMs: number, minMs = 1): z.ZodType<number, unknown> => z.coerce.number().int().min(minMs).default(defaultMs);
const Count = (defaultCount: number): z.ZodType<number, unknown> => z.coerce.number().int().min(1).default(defaultCount);
const Origin = z.url({ protocol: /^https?$/ }).transform((url) => url.replace(/\/+$/, ""));
const Text = z.string().min(1);
const SecretText = z.string().min(16, "must have at least 16 characters").max(1024);

const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;
const MIB = 1024 * 1024;

const EnvSchema = z.object({
  /** PostgreSQL, as `postgres://user:password@host:port/database`. */
  DATABASE_URL: Text,
  /** Connections of the engine to PostgreSQL. */
  TORPOR_DATABASE_POOL_SIZE: Count(16),
  /** Where the API listens. 0 takes a free port. */
  HOST: Text.default("127.0.0.1"),
  PORT: Port.default(3030),
  /** The API as users and third parties reach it: stands in addresses that are handed out. Default: where it listens. */
  TORPOR_API_ORIGIN: Origin.optional(),
  /** The API as sandboxes reach it: their TRIGGER_API_URL. Default: TORPOR_API_ORIGIN. */
  TORPOR_SANDBOX_API_ORIGIN: Origin.optional(),
  /** Where sandboxes send spans and logs, up to `/v1/traces`. Default: the platform's own sink. */
  TORPOR_OTLP_ENDPOINT: Origin.optional(),
  /** Shared by all nodes of an installation; they send it beside their token. */
  MANAGED_WORKER_SECRET: SecretText,
  /** Token of a worker group that is made at start. Without it, groups are made by the admin API. */
  TRIGGER_WORKER_TOKEN: SecretText.optional(),
  TORPOR_WORKER_GROUP: Text.max(100).default("default"),
  /** Opens the admin API. Without it that API refuses everybody. */
  TORPOR_ADMIN_TOKEN: SecretText.optional(),
  /** Encrypts keys and variables at rest, and signs addresses: 32 bytes as 64 hex digits or base64. */
  TORPOR_ENCRYPTION_KEY: z.string().min(32, "must be 32 bytes, as 64 hex digits or base64").max(256),
  /** Prometheus metrics on a port of their own; off when not set, because the API's port is open to sandboxes. */
  TORPOR_METRICS_HOST: Text.default("127.0.0.1"),
  TORPOR_METRICS_PORT: Port.optional(),
  TORPOR_LOG_LEVEL: z.enum(["trace", "debug", "info", "warn", "error", "silent"]).default("info"),

  /** Sockets beyond this number are refused. */
  TORPOR_MAX_CONNECTIONS: Count(10_000),
  /** A request that has not arrived whole by then is cut off. Long polls are answered, not cut. */
  TORPOR_REQUEST_TIMEOUT_MS: Ms(60_000, 1000),
  /** How long a node's dequeue waits for a run. */
  TORPOR_DEQUEUE_WAIT_MS: Ms(10_000, 0),
  /** Runs that one node may watch at once. */
  TORPOR_MAX_SUBSCRIPTIONS: Count(10_000),
  /** Encoded payload, output of a token, and metadata, each. The SDK stores larger payloads apart. */
  TORPOR_MAX_PAYLOAD_BYTES: Count(3 * MIB),
  /** Payloads and outputs that are stored apart. */
  TORPOR_MAX_PACKET_BYTES: Count(32 * MIB),
  TORPOR_MAX_BATCH_SIZE: Count(1000),
  /** All items of one batch in one request. */
  TORPOR_MAX_BATCH_BYTES: Count(256 * MIB),
  /** Spans and logs of a run are deleted when it has told nothing for so long. */
  TORPOR_TELEMETRY_RETENTION_MS: Ms(14 * DAY_MS, MINUTE_MS),
  TORPOR_MAX_SPANS_PER_RUN: Count(10_000),
  TORPOR_MAX_LOGS_PER_RUN: Count(10_000),

  /** A run that was handed out and not started goes back to the queue after this. */
  TORPOR_STALL_PENDING_EXECUTING_MS: Ms(60_000),
  /** A run whose runner sends no heartbeats is started over after this. */
  TORPOR_STALL_EXECUTING_MS: Ms(300_000),
  TORPOR_STALL_EXECUTING_WITH_WAITPOINTS_MS: Ms(300_000),
  /** A suspended run is looked after at least this often. */
  TORPOR_STALL_SUSPENDED_MS: Ms(600_000),
  /** A cancelled run whose runner does not confirm is finished after this. */
  TORPOR_STALL_PENDING_CANCEL_MS: Ms(60_000),
  /**
   * A node of which nothing was heard for so long leaves the runs that sleep on it to others, where they start over. Four of a node's
   * heartbeats; longer than a restart takes.
   */
  TORPOR_NODE_LOST_AFTER_MS: Ms(120_000, 1000),
  /** How often runners send heartbeats; a third or less of the time after which they count as stalled. */
  TORPOR_HEARTBEAT_INTERVAL_MS: Ms(20_000),
  /** Failed attempts that are due again sooner than this stay with their runner. */
  TORPOR_RETRY_IMMEDIATELY_BELOW_MS: Ms(30_000, 0),
  /** Times a run may be handed out without being started before it fails. */
  TORPOR_MAX_HAND_OUTS: Count(12),
  /** A batch that was announced and not sent whole is aborted after this. */
  TORPOR_BATCH_SEAL_LIMIT_MS: Ms(30 * MINUTE_MS),
  /** Runs of one environment at the same time. */
  TORPOR_ENVIRONMENT_CONCURRENCY: Count(100),
});

export type Config = ReturnType<typeof readConfig>;

/** Reads the settings, or throws an error that names each that is wrong. Values of secrets are not shown. */
export function readConfig(env: Readonly<Record<string, string | undefined>>) {
  const parsed = EnvSchema.safeParse(Object.fromEntries(Object.entries(env).filter(([, value]) => value !== "")));
  if (!parsed.success)
    throw new Error(
      `Cannot read the platform's settings: ${parsed.error.issues.map((issue) => `${issue.path.join(".")} ${issue.message}`).join("; ")}`,
    );
  const e = parsed.data;
  return {
    log: { level: e.TORPOR_LOG_LEVEL },
    listen: { host: e.HOST, port: e.PORT },
    database: { url: new Secret(e.DATABASE_URL), poolSize: e.TORPOR_DATABASE_POOL_SIZE },
    encryptionKey: new Secret(e.TORPOR_ENCRYPTION_KEY),
    /** Undefined: where it listens, which is known only then. */
    origins: { api: e.TORPOR_API_ORIGIN, sandbox: e.TORPOR_SANDBOX_API_ORIGIN, otlp: e.TORPOR_OTLP_ENDPOINT },
    managedSecret: new Secret(e.MANAGED_WORKER_SECRET),
    workerGroup: e.TRIGGER_WORKER_TOKEN === undefined ? null : { name: e.TORPOR_WORKER_GROUP, token: new Secret(e.TRIGGER_WORKER_TOKEN) },
    adminToken: e.TORPOR_ADMIN_TOKEN === undefined ? null : new Secret(e.TORPOR_ADMIN_TOKEN),
    metrics: e.TORPOR_METRICS_PORT === undefined ? null : { host: e.TORPOR_METRICS_HOST, port: e.TORPOR_METRICS_PORT },
    limits: limitsOf(e),
    telemetry: {
      retentionMs: e.TORPOR_TELEMETRY_RETENTION_MS,
      maxSpansPerRun: e.TORPOR_MAX_SPANS_PER_RUN,
      maxLogsPerRun: e.TORPOR_MAX_LOGS_PER_RUN,
    },
    dequeueWaitMs: e.TORPOR_DEQUEUE_WAIT_MS,
    engine: engineOf(e),
  } as const;
}

type Env = z.infer<typeof EnvSchema>;

function limitsOf(e: Env) {
  return {
    maxConnections: e.TORPOR_MAX_CONNECTIONS,
    requestTimeoutMs: e.TORPOR_REQUEST_TIMEOUT_MS,
    maxSubscriptions: e.TORPOR_MAX_SUBSCRIPTIONS,
    maxPayloadBytes: e.TORPOR_MAX_PAYLOAD_BYTES,
    maxPacketBytes: e.TORPOR_MAX_PACKET_BYTES,
    maxBatchSize: e.TORPOR_MAX_BATCH_SIZE,
    // Escaped as JSON inside JSON a payload may double; options come on top.
    maxBatchLineBytes: 2 * e.TORPOR_MAX_PAYLOAD_BYTES + 64 * 1024,
    maxBatchBytes: e.TORPOR_MAX_BATCH_BYTES,
  } as const;
}

function engineOf(e: Env) {
  return {
    stalls: {
      pendingExecutingMs: e.TORPOR_STALL_PENDING_EXECUTING_MS,
      executingMs: e.TORPOR_STALL_EXECUTING_MS,
      executingWithWaitpointsMs: e.TORPOR_STALL_EXECUTING_WITH_WAITPOINTS_MS,
      suspendedMs: e.TORPOR_STALL_SUSPENDED_MS,
      pendingCancelMs: e.TORPOR_STALL_PENDING_CANCEL_MS,
    },
    nodeLostAfterMs: e.TORPOR_NODE_LOST_AFTER_MS,
    heartbeatIntervalMs: e.TORPOR_HEARTBEAT_INTERVAL_MS,
    completion: { retryImmediatelyBelowMs: e.TORPOR_RETRY_IMMEDIATELY_BELOW_MS },
    giveBack: { budget: e.TORPOR_MAX_HAND_OUTS },
    batchSealLimitMs: e.TORPOR_BATCH_SEAL_LIMIT_MS,
    environmentConcurrencyLimit: e.TORPOR_ENVIRONMENT_CONCURRENCY,
  } as const;
}
