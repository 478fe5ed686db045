// The broker's settings. This file alone reads the environment, by argument.
import { z } from "zod";

const int = (fallback: number, min: number, max: number) =>
  z
    .string()
    .regex(/^\d+$/, `must be a whole number from ${min} to ${max}`)
    .optional()
    .transform((text) => (text === undefined ? fallback : Number(text)))
    .pipe(z.number().min(min).max(max));

const EnvSchema = z.object({
  TORPOR_WARM_START_HOST: z.string().min(1).default("127.0.0.1"),
  TORPOR_WARM_START_PORT: int(8030, 0, 65_535),
  /** How long one poll of an idle runner lasts, as the runner is told. */
  TRIGGER_WARM_START_CONNECTION_TIMEOUT_MS: int(10_000, 1_000, 600_000),
  /** How long an idle runner is kept: it holds its memory all that time. 0: runners exit after their run. */
  TRIGGER_WARM_START_KEEPALIVE_MS: int(30_000, 0, 86_400_000),
  TORPOR_WARM_START_MAX_IDLE: int(1_000, 1, 100_000),
  /** Runs are offered from this machine only, unless the supervisors are elsewhere: sandboxes reach the broker too. */
  TORPOR_WARM_START_OPEN_DISPATCH: z.enum(["true", "false"], "must be true or false").default("false"),
  TORPOR_LOG_LEVEL: z.enum(["trace", "debug", "info", "warn", "error", "silent"]).default("info"),
  TORPOR_STOP_WITH_STDIN: z.string().optional(),
});

/** Thrown when a setting is wrong. The message names each variable. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
}

/** Reads and checks the environment. An empty variable counts as unset. */
export function readConfig(env: Readonly<Record<string, string | undefined>>) {
  const given = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== undefined && value !== ""));
  const parsed = EnvSchema.safeParse(given);
  if (!parsed.success)
    throw new ConfigError(
      `Cannot start the warm-start broker:\n  ${parsed.error.issues.map((issue) => `${String(issue.path[0])} ${issue.message}`).join("\n  ")}`,
    );
  const e = parsed.data;
  return {
    listen: { host: e.TORPOR_WARM_START_HOST, port: e.TORPOR_WARM_START_PORT },
    connectionTimeoutMs: e.TRIGGER_WARM_START_CONNECTION_TIMEOUT_MS,
    keepaliveMs: e.TRIGGER_WARM_START_KEEPALIVE_MS,
    maxIdle: e.TORPOR_WARM_START_MAX_IDLE,
    openDispatch: e.TORPOR_WARM_START_OPEN_DISPATCH === "true",
    logLevel: e.TORPOR_LOG_LEVEL,
    stopWithStdin: e.TORPOR_STOP_WITH_STDIN === "1" || e.TORPOR_STOP_WITH_STDIN === "true",
  };
}

export type WarmStartConfig = ReturnType<typeof readConfig>;
