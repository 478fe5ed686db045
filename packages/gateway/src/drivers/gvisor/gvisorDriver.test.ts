import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { systemClock } from "@torpor/kernel";
import { silentLog } from "@torpor/observe";
import { driverConformance } from "../conformance.ts";
import { lastTick, makeRealHost, outputOf, tickAfter, whyNoGvisor, withProgram } from "../../testing/realHost.ts";
import { startGvisorDriver } from "./index.ts";

driverConformance("gvisor", { snapshots: true, missing: await whyNoGvisor() }, async () => {
  const real = await makeRealHost();
  const { stateDir } = real.options;
  let count = 0;
  const scratchDir = join(real.dir, "scratch");
  await mkdir(scratchDir, { recursive: true });
  return {
    scratchDir,
    open: () => startGvisorDriver(real.options, { clock: systemClock, log: silentLog }),
    spec: (program) => ({
      id: `sbxtest${count++}`,
      image: withProgram(real.image, program === "exits_with_7" ? program : "ticks"),
      env: {},
      cpu: 1,
      memoryBytes: 2 ** 29,
      metadata: {},
    }),
    progress: (_driver, id, before) => tickAfter(stateDir, id, before),
    progressNow: async (id) => lastTick(await outputOf(stateDir, id)),
    async kill(id) {
      process.kill(Number(await readFile(join(stateDir, "gvisor", "sandboxes", id, "pid"), "utf8")), "SIGKILL");
    },
    close: real.close,
  };
});
