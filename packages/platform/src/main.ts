import { systemClock, systemRandom } from "@torpor/kernel";
import { createLog, createMetrics } from "@torpor/observe";
import { readConfig } from "./config.ts";
import { startPlatform } from "./platform.ts";

// The platform as a process of its own. SIGTERM and SIGINT drain it; a second signal ends it at once.

const config = readConfig(process.env);
const log = createLog({ level: config.log.level, part: "platform" });
const platform = await startPlatform(config, {
  clock: systemClock,
  random: systemRandom,
  log,
  metrics: createMetrics({ withProcess: true }),
});

let isStopping = false;
function stop(): void {
  if (isStopping) process.exit(130);
  isStopping = true;
  log.info({}, "draining");
  platform.close().then(
    () => process.exit(0),
    (error: unknown) => {
      log.error({ err: error }, "the platform did not stop cleanly");
      process.exit(1);
    },
  );
}
process.on("SIGTERM", stop).on("SIGINT", stop);
