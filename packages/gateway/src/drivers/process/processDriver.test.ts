import { cp, mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { systemClock } from "@torpor/kernel";
import { silentLog } from "@torpor/observe";
import { driverConformance } from "../conformance.ts";
import { lastTick, makeRealHost, outputOf, tickAfter, withProgram } from "../../testing/realHost.ts";
import { startProcessDriver } from "./processDriver.ts";

driverConformance("process", { snapshots: false }, async () => {
  const real = await makeRealHost();
  const { stateDir } = real.options;
  let count = 0;
  const scratchDir = join(real.dir, "scratch");
  await mkdir(scratchDir, { recursive: true });
  const install = async (_image: unknown, appDir: string): Promise<{ controller: string }> => {
    await cp(join(real.image.rootfs, "app"), appDir, { recursive: true });
    return { controller: join(appDir, "guest.mjs") };
  };
  return {
    scratchDir,
    open: () => startProcessDriver({ stateDir, services: [], install }, { clock: systemClock, log: silentLog }),
    spec: (program) => ({
      id: `sbxtest${count++}`,
      image: withProgram(real.image, program),
      env: {},
      cpu: 1,
      memoryBytes: 2 ** 29,
      metadata: {},
    }),
    progress: (_driver, id, before) => tickAfter(stateDir, id, before, "process"),
    progressNow: async (id) => lastTick(await outputOf(stateDir, id, "process")),
    async kill(id) {
      const record = JSON.parse(await readFile(join(stateDir, "process", "sandboxes", id, "process.json"), "utf8")) as { pid: number };
      process.kill(record.pid, "SIGKILL");
    },
    close: real.close,
  };
});
