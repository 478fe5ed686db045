import { GIB } from "@torpor/kernel";

/** What a node measures of its memory. */
export interface MeasuredMemory {
  /** What can be used without swapping. */
  readonly availableBytes: number;
  /** Held by sandboxes that nobody has asked for yet: it is given up when it is needed. */
  readonly spareBytes: number;
  /** What the sandboxes occupy now. */
  readonly usedBytes: number;
}

/**
 * How much memory may still be given out, in GiB, by what is measured: what is left beside what the sandboxes that are placed may yet
 * grow to. Whatever else the machine runs has taken its part already, which no preset tells. `overcommit`: so often memory is given
 * out. Pure.
 */
export function measuredFreeGib({ availableBytes, spareBytes, usedBytes }: MeasuredMemory, placedGib: number, overcommit: number): number {
  const growthGib = Math.max(0, placedGib / overcommit - usedBytes / GIB);
  return Math.max(0, (availableBytes + spareBytes) / GIB - growthGib) * overcommit;
}
