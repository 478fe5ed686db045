import type { MemoryImageId } from "@torpor/contracts";

type HoldEnd = "committed" | "thawed";

/** So many ends are remembered; an older commit or abort is answered as if nobody knew of it. */
const REMEMBERED = 4_096;

/** How held snapshots ended, so that a commit or abort that is repeated after a lost answer gets the same answer. */
export class EndedHolds {
  readonly #ends = new Map<MemoryImageId, HoldEnd>();

  get(imageId: MemoryImageId): HoldEnd | undefined {
    return this.#ends.get(imageId);
  }

  set(imageId: MemoryImageId, end: HoldEnd): void {
    this.#ends.set(imageId, end);
    const oldest = this.#ends.keys().next();
    if (this.#ends.size > REMEMBERED && oldest.done !== true) this.#ends.delete(oldest.value);
  }
}
