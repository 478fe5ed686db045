// Removes what a gateway that is not running any more has left on this machine.
import { rm } from "node:fs/promises";
import { systemClock } from "@torpor/kernel";
import { silentLog, type Log } from "@torpor/observe";
import type { GatewayConfig } from "./config.ts";
import { gvisorSupport, startGvisorDriver } from "./drivers/gvisor/index.ts";
import { startProcessDriver } from "./drivers/process/processDriver.ts";
import { gatewayDir } from "./gateway.ts";

export type CleanUpOptions = Pick<
  GatewayConfig,
  "stateDir" | "planeId" | "runDir" | "runscBinary" | "sandboxDiskBytes" | "minCpu" | "egress" | "addressBlock"
>;

/**
 * Ends every sandbox of a plane whose gateway is dead and removes its networks, rules, cgroups, mounts and files, memory images
 * included. Returns how many sandboxes it ended. Idempotent. The gateway must not run: it would be cut from under its sandboxes.
 */
export async function cleanUp(options: CleanUpOptions, log: Log = silentLog): Promise<{ sandboxes: number }> {
  const dir = gatewayDir(options.stateDir);
  let count = 0;
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
  await rm(dir, { recursive: true, force: true });
  return { sandboxes: count };
}
