// From a memory image to a sandbox that runs. An image is checked, then taken, then run (L6). If it certainly did not run it is given
// back; else it is deleted (L7), unless it is reserved: then it stays until its run goes on, or its sandbox ends before that.
import type { MemoryImageId } from "@torpor/contracts";
import type { Core } from "../core.ts";
import type { SandboxSpec, StartOutcome } from "../drivers/driver.ts";
import { plainSizeOf, type Manifest } from "../snapshots/manifest.ts";

export interface Restoring {
  readonly imageId: MemoryImageId;
  readonly manifest: Manifest;
  readonly spec: SandboxSpec;
  /** The sandbox is made ready ahead of time and may come to nothing. */
  readonly isReserved: boolean;
}

/** Runs a memory image in a new sandbox. Memory in clear exists only until the sandbox has read it. */
export async function restoreImage(core: Core, restoring: Restoring): Promise<StartOutcome> {
  const { staging } = core;
  const sizeBytes = plainSizeOf(restoring.manifest);
  const room = staging.reserve(sizeBytes, "wake");
  if (room === undefined) {
    const message = `${sizeBytes} bytes do not fit beside the ${staging.reservedBytes} that are being written and restored`;
    return { kind: "refused", reason: "no_capacity", message };
  }
  try {
    return await restoreFrom(core, await room.open(), restoring);
  } finally {
    void room.release(); // not on the way of the answer
  }
}

/** Opening 150 MB takes as long as making an empty sandbox: they happen side by side. */
async function restoreFrom(core: Core, dir: string, { imageId, manifest, spec, isReserved }: Restoring): Promise<StartOutcome> {
  const { memory, driver, clock, metrics } = core;
  const startedMs = clock.monotonicMs();
  const tookMs = { prepareMs: 0, unsealMs: 0 };
  const preparing = driver.prepare(spec).finally(() => (tookMs.prepareMs = clock.monotonicMs() - startedMs));
  const opening = memory.unseal(imageId, manifest, dir).finally(() => {
    tookMs.unsealMs = clock.monotonicMs() - startedMs;
    metrics.observeMs("torpor_gateway_unseal_seconds", tookMs.unsealMs);
  });
  const damage = await opening.finally(() => preparing);
  if (damage !== undefined) return await refuseImage(core, imageId, damage);
  const prepared = await preparing;
  if (prepared.kind === "refused") return prepared;
  const readyMs = clock.monotonicMs();
  await memory.move(imageId, isReserved ? "reserve" : "consume");
  const consumeMs = clock.monotonicMs() - readyMs;
  const outcome = await driver.restore(spec.id, dir);
  if (outcome.kind === "refused") await memory.giveBack(imageId);
  else if (outcome.kind === "unknown" && !isReserved) await memory.remove(imageId); // before what may have run is destroyed: a kill in between must not give it back
  if (outcome.kind !== "started") return outcome;
  if (!isReserved) removeSoon(core, imageId);
  return { ...outcome, timingMs: { ...tookMs, consumeMs, ...outcome.timingMs } };
}

/** An image that cannot be restored here is given up: the cause is told and kept, its key and its files go (L7, L11). */
export async function refuseImage(core: Core, imageId: MemoryImageId, cause: string): Promise<never> {
  const { memory, metrics, log } = core;
  try {
    return await memory.refuse(imageId, cause);
  } finally {
    if (memory.phase(imageId) === "refused") {
      metrics.count("torpor_gateway_memory_images_refused_total");
      log.error({ memoryImage: imageId, cause }, "a memory image is refused and deleted");
      removeSoon(core, imageId);
    }
  }
}

function removeSoon({ memory, log }: Core, imageId: MemoryImageId): void {
  memory.removeSoon(imageId, (error) => log.error({ err: error, memoryImage: imageId }, "cannot delete a memory image"));
}
