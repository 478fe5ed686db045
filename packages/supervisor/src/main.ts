// The supervisor as a process of its own. Only this file touches `process`.
import { hostname } from "node:os";
import { systemClock, systemRandom } from "@torpor/kernel";
import { createLog, createMetrics } from "@torpor/observe";
import { ConfigError, readConfig, type SupervisorConfig } from "./config.ts";
import { startSupervisor } from "./supervisor.ts";

const EXIT_CONFIG = 2;
const EXIT_FAILED = 1;
/** Beyond the drain itself: the last words and the closing of ports. */
const EXIT_MARGIN_MS = 2_000;

/** Runs until told to stop. Resolves with the exit code. */
export async function main(env: NodeJS.ProcessEnv): Promise<number> {
  let config: SupervisorConfig;
  try {
    // The same at each start: runs that sleep here are for the node of this name
    config = readConfig(env, { instanceName: hostname });
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    process.stderr.write(`${error.message}\n`);
    return EXIT_CONFIG;
  }
  const log = createLog({ level: config.logLevel, part: "supervisor" });
  const supervisor = await startSupervisor(config, {
    clock: systemClock,
    random: systemRandom,
    log,
    metrics: createMetrics({ withProcess: true }),
  });
  log.info({ url: supervisor.workloadUrl }, "the workload API listens");
  const stopped = stopAsked(config.stopWithStdin);
  const failed = await Promise.race([
    stopped.then(() => false),
    supervisor.ready
      .then(() => stopped)
      .then(
        () => false,
        () => true,
      ),
  ]);
  const forced = setTimeout(() => process.exit(EXIT_FAILED), config.drainMs + EXIT_MARGIN_MS);
  await supervisor.close();
  clearTimeout(forced);
  return failed ? EXIT_FAILED : 0;
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
