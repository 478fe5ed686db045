// Removes what a gateway that is not running any more has left on this machine.
import { systemClock } from "@torpor/kernel";
import { silentLog, type Log } from "@torpor/observe";
import type { GatewayConfig } from "./config.ts";
import { gvisorSupport, startGvisorDriver } from "./drivers/gvisor/index.ts";
import { startProcessDriver } from "./drivers/process/processDriver.ts";
import { gatewayDir, stagingDir } from "./graph.ts";
import { lockFolder } from "./instanceLock.ts";
import { removeFiles } from "./removeFiles.ts";
import { freeStaging } from "./snapshots/stagingArea.ts";

export type CleanUpOptions = Pick<
  GatewayConfig,
  "stateDir" | "planeId" | "runDir" | "runscBinary" | "sandboxDiskBytes" | "cpuLimit" | "egress" | "addressBlock"
>;

/**
 * Ends every sandbox of a plane whose gateway is dead and removes its networks, rules, cgroups, mounts and files, memory images
 * included. Returns how many sandboxes it ended. Idempotent. Throws when the gateway runs.
 */
export async function cleanUp(options: CleanUpOptions, log: Log = silentLog): Promise<{ sandboxes: number }> {
  const dir = gatewayDir(options.stateDir);
  const lock = await lockFolder(dir);
  try {
    return { sandboxes: await removeEverything(options, dir, log) };
  } finally {
    await lock.close();
  }
}

async function removeEverything(options: CleanUpOptions, dir: string, log: Log): Promise<number> {
  let count = 0;
  await freeStaging(stagingDir(options));
  const dependencies = { clock: systemClock, log };
  const drivers = [
    await startProcessDriver({ stateDir: dir, services: [], install: () => Promise.reject(new Error("not here")) }, dependencies),
  ];
  const gvisor = await gvisorSupport(options);
  const all =
    gvisor.kind === "supported"
      ? [...drivers, await startGvisorDriver({ ...options, stateDir: dir, services: [] }, dependencies)]
      : drivers;
  for (const driver of all) {
    for (const { id } of await driver.list()) {
      await driver.destroy(id);
      count++;
    }
    await driver.dispose();
    await driver.close();
  }
  await removeFiles(options.stateDir);
  return count;
}
