// Every variable that the supervisor reads, with its range and its default.
import { z } from "zod";

/** An unset variable and an empty one mean the same: many init systems cannot unset. */
const flag = (fallback: boolean) =>
  z
    .enum(["true", "false", "1", "0"], "must be true or false")
    .optional()
    .transform((text) => (text === undefined ? fallback : text === "true" || text === "1"));
const int = (fallback: number, min: number, max: number) =>
  z
    .string()
    .regex(/^\d+$/, `must be a whole number from ${min} to ${max}`)
    .optional()
    .transform((text) => (text === undefined ? fallback : Number(text)))
    .pipe(z.number().min(min).max(max));
const optionalInt = (min: number, max: number) =>
  z.string().regex(/^\d+$/, `must be a whole number from ${min} to ${max}`).transform(Number).pipe(z.number().min(min).max(max)).optional();
const httpUrl = z.url({ protocol: /^https?$/, error: "must be an http or https URL" });
const port = (fallback: number) => int(fallback, 0, 65_535);

export const EnvSchema = z.object({
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
  TORPOR_CPU_OVERCOMMIT: z
    .string()
    .regex(/^\d+(\.\d+)?$/, "must be a number")
    .optional()
    .transform((text) => Number(text ?? 4))
    .pipe(z.number().min(0.1).max(1000)),
  TORPOR_MEMORY_OVERCOMMIT: z
    .string()
    .regex(/^\d+(\.\d+)?$/, "must be a number")
    .optional()
    .transform((text) => Number(text ?? 1))
    .pipe(z.number().min(0.1).max(1000)),

  TRIGGER_WARM_START_URL: httpUrl.optional(),
  TRIGGER_WARM_START_DISPATCH_URL: httpUrl.optional(),
  TRIGGER_WARM_START_VERIFY_ENABLED: flag(true),
  TRIGGER_WARM_START_VERIFY_DELAY_MS: int(1000, 100, 60_000),
  TRIGGER_WARM_START_KEEPALIVE_MS: int(30_000, 0, 86_400_000),
  TORPOR_WARM_START_MAX_KEEPALIVE_MS: int(300_000, 0, 86_400_000),
  TORPOR_WARM_START_MAX_IDLE: int(16, 1, 100),
  TORPOR_WARM_START_CONNECTION_MS: int(240_000, 2_000, 280_000),

  TRIGGER_METADATA_URL: httpUrl.optional(),
  COMPUTE_GATEWAY_URL: httpUrl,
  COMPUTE_GATEWAY_AUTH_TOKEN: z.string().min(1).optional(),
  COMPUTE_GATEWAY_TIMEOUT_MS: int(30_000, 1000, 300_000),
  COMPUTE_SNAPSHOTS_ENABLED: flag(false),
  COMPUTE_SNAPSHOT_DELAY_MS: optionalInt(0, 60_000),
  COMPUTE_SNAPSHOT_DISPATCH_LIMIT: int(10, 1, 100),
  COMPUTE_INSTANCE_CREATE_MAX_ATTEMPTS: int(3, 1, 10),
  COMPUTE_INSTANCE_CREATE_RETRY_BASE_DELAY_MS: int(250, 0, 10_000),
  TORPOR_SNAPSHOT_HOLD_MS: int(120_000, 10_000, 300_000),
  TORPOR_SNAPSHOT_TIMEOUT_MS: int(60_000, 1000, 600_000),
  TORPOR_SNAPSHOT_CALLBACK_URL: httpUrl.optional(),
  TORPOR_SOCKET_GRACE_MS: int(30_000, 1000, 600_000),
  TORPOR_SWEEP_INTERVAL_MS: int(10_000, 1000, 3_600_000),
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

export type Settings = z.infer<typeof EnvSchema>;
