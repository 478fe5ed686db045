// Images that a deployment puts into the store of this node. Each gets its templates before the first run asks for them.
import { watch, type FSWatcher } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { DEFAULT_MACHINE, MachineName, MACHINES } from "@torpor/contracts";
import { findImage, type WorkerManifest } from "@torpor/image";
import type { Closable } from "@torpor/kernel";
import type { Log } from "@torpor/observe";
import { z } from "zod";
import type { Machine } from "./templateKey.ts";

/** Of a project whose tasks name more machines, the first get templates at once, the others when they are first used. */
const MAX_MACHINES = 4;

/** Calls `arrived` for each image that appears in `<storeDir>/images`, with the machines that its tasks name. */
export async function watchArrivals(
  storeDir: string,
  log: Log,
  arrived: (reference: string, machines: readonly Machine[]) => Promise<void>,
): Promise<Closable> {
  const dir = join(storeDir, "images");
  await mkdir(dir, { recursive: true });
  const told = new Set<string>();
  const watcher: FSWatcher = watch(dir, (_event, name) => {
    if (name === null || !/^sha256-[0-9a-f]{64}$/.test(name) || told.has(name)) return;
    void tell(name).catch((error: unknown) => log.warn({ err: error, image: name }, "an image that has arrived cannot be read"));
  });
  // An image that is not seen to arrive gets its template after its first run
  watcher.on("error", (error) => log.warn({ err: error, dir }, "images are not watched any more"));
  const tell = async (name: string): Promise<void> => {
    const found = await findImage(storeDir, name);
    if (found.kind === "refused" || told.has(name)) return;
    told.add(name);
    await arrived(name, machinesOf(found.stored.image.workerManifest));
  };
  return { close: () => watcher.close() };
}

const TaskMachine = z.object({ machine: z.union([MachineName, z.object({ preset: MachineName }).transform(({ preset }) => preset)]) });

function machinesOf({ tasks }: WorkerManifest): Machine[] {
  const names = tasks.map((task) => TaskMachine.safeParse(task).data?.machine ?? DEFAULT_MACHINE);
  return [...new Set(names)].slice(0, MAX_MACHINES).map((name) => ({ cpu: MACHINES[name].cpu, memoryGb: MACHINES[name].memory }));
}
