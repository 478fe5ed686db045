import { TorporError, type MemoryImageId } from "@torpor/contracts";
import type { ImagePhase } from "../sandboxes/lifeCycle.ts";

/** So many are remembered; an older one is answered as if nobody knew of it. */
const REMEMBERED = 4_096;

/** Why memory images were refused, so that whoever asks again after a lost answer hears the cause, though the files are gone. */
export class Refusals {
  readonly #causes = new Map<MemoryImageId, string>();

  get(id: MemoryImageId): string | undefined {
    return this.#causes.get(id);
  }

  set(id: MemoryImageId, cause: string): void {
    this.#causes.set(id, cause);
    const oldest = this.#causes.keys().next();
    if (this.#causes.size > REMEMBERED && oldest.done !== true) this.#causes.delete(oldest.value);
  }
}

/** Nobody can restore it. */
export function refused(id: MemoryImageId, cause: string): TorporError {
  return new TorporError("memory_image_refused", `Cannot restore ${id}: ${cause}`);
}

/** Nobody has it any more, or not for this. */
export function gone(id: MemoryImageId, phase: ImagePhase | undefined): TorporError {
  const why = phase === "consumed" ? "it was restored already" : "this node does not have it";
  return new TorporError("memory_image_gone", `Cannot use memory image ${id}: ${why}`);
}
