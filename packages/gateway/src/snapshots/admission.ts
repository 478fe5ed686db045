// Whether a sandbox may be saved now. What is refused is refused by name, so that its supervisor knows whether to ask again.
import { TorporError, type RunnerId } from "@torpor/contracts";
import type { Core } from "../core.ts";
import type { Sandbox } from "../sandboxes/sandboxTable.ts";
import { whyBeyondQuota } from "./quotaKeeper.ts";
import type { StagedRoom } from "./stagingArea.ts";

export interface Admitted {
  readonly sandbox: Sandbox;
  /** Room in memory to write to; whoever is admitted releases it. */
  readonly room: StagedRoom;
}

/** What has to be asked for before the sandbox is looked at. */
export interface AdmissionFacts {
  readonly full: string | undefined;
  readonly beyondQuota: string | undefined;
  readonly memoryBytes: number;
}

/** Throws when there is no such sandbox, or none can be saved here. */
export async function admissionFacts(core: Core, name: RunnerId): Promise<AdmissionFacts> {
  const { driver, table } = core;
  if (!driver.can.snapshot) throw new TorporError("not_supported", `Cannot snapshot ${name}: the ${driver.name} driver cannot save memory`);
  const full = await core.diskRoom();
  const beyondQuota = await whyBeyondQuota(core, 1);
  return { full, beyondQuota, memoryBytes: await memoryOf(core, table.live(name)) };
}

/** Throws when the sandbox cannot be saved now. In one step: of two who ask at once, the second sees what the first has begun. */
export function admitSnapshot({ table, staging }: Core, name: RunnerId, facts: AdmissionFacts & { readonly isBusy: boolean }): Admitted {
  const { full, beyondQuota, memoryBytes, isBusy } = facts;
  const sandbox = table.live(name);
  refuseUnlessRunning(name, sandbox);
  if (isBusy) throw new TorporError("no_capacity", `Cannot snapshot ${name}: as many snapshots are being written as this node allows`);
  if (full !== undefined) throw new TorporError("no_capacity", `Cannot snapshot ${name}: ${full}`);
  if (beyondQuota !== undefined) throw new TorporError("memory_quota_exceeded", `Cannot snapshot ${name} on this node: ${beyondQuota}`);
  const room = staging.reserve(memoryBytes, "sleep");
  if (room === undefined)
    throw new TorporError(
      "no_capacity",
      `Cannot snapshot ${name}: ${memoryBytes} bytes do not fit beside the ${staging.reservedBytes} that are being written and restored`,
    );
  return { sandbox, room };
}

function refuseUnlessRunning(name: RunnerId, { record }: Sandbox): void {
  const { state, snapshot } = record;
  if (state === "freezing" || state === "held")
    throw new TorporError("sandbox_frozen", `Cannot snapshot ${name}: it is ${state} already, for ${snapshot?.memoryImageId ?? "another"}`);
  if (state !== "running") throw new TorporError("no_capacity", `Cannot snapshot ${name}: it is ${state}`);
}

/** No more than this is written: what it occupies on the host, its kernel included. */
async function memoryOf({ driver }: Core, { record }: Sandbox): Promise<number> {
  const usage = await driver.usage(record.id);
  return Math.min(usage?.memoryBytes ?? record.memoryBytes, record.memoryBytes);
}
