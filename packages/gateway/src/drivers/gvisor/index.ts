import type { Clock } from "@torpor/kernel";
import type { Log } from "@torpor/observe";
import { GvisorDriver } from "./gvisorDriver.ts";
import { assemble, type GvisorOptions } from "./parts.ts";

export { GvisorDriver } from "./gvisorDriver.ts";
export { GUEST_HOST } from "./nftRules.ts";
export type { CpuLimit } from "./cgroups.ts";
export type { GvisorOptions, ServiceSetting } from "./parts.ts";
export { gvisorSupport, type Missing, type Support } from "./supports.ts";

/** Makes the host ready for this plane's sandboxes and returns their driver. Throws when the host refuses: see `gvisorSupport`. */
export async function startGvisorDriver(options: GvisorOptions, dependencies: { clock: Clock; log: Log }): Promise<GvisorDriver> {
  return new GvisorDriver(await assemble(options, dependencies));
}
