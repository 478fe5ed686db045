// The broker as a process of its own. Only this file touches `process`.
import { systemClock } from "@torpor/kernel";
import { createLog, createMetrics } from "@torpor/observe";
import { ConfigError, readConfig, type WarmStartConfig } from "./config.ts";
import { startWarmStart } from "./warmStart.ts";

const EXIT_CONFIG = 2;

/** Runs until told to stop. Resolves with the exit code. */
export async function main(env: NodeJS.ProcessEnv): Promise<number> {
  let config: WarmStartConfig;
  try {
    config = readConfig(env);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    process.stderr.write(`${error.message}\n`);
    return EXIT_CONFIG;
  }
  const log = createLog({ level: config.logLevel, part: "warmstart" });
  const broker = await startWarmStart(config, { clock: systemClock, log, metrics: createMetrics({ withProcess: true }) });
  log.info({ url: broker.url }, "the warm-start broker listens");
  await stopAsked(config.stopWithStdin);
  await broker.close();
  return 0;
}

/** A signal, or, for a child, the end of the pipe that its parent holds: then the parent is gone. */
function stopAsked(withStdin: boolean): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => resolve());
    if (!withStdin) return;
    process.stdin.once("end", () => resolve());
    process.stdin.once("close", () => resolve());
    process.stdin.resume();
  });
}

if (import.meta.main) process.exit(await main(process.env));
