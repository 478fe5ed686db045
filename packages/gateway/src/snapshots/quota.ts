// How much disk the memory images of a node may take, and what goes first when there is too little. Pure.
import type { MemoryImageId } from "@torpor/contracts";
import type { ImagePhase } from "../sandboxes/lifeCycle.ts";

export interface ImageOnDisk {
  readonly id: MemoryImageId;
  readonly phase: ImagePhase;
  readonly sizeBytes: number;
  readonly createdAtMs: number;
}

export interface QuotaAsk {
  readonly images: readonly ImageOnDisk[];
  /** What is to be added. */
  readonly incomingBytes: number;
  readonly quotaBytes: number;
}

/** `makeRoom`: delete these, then there is room. `exceeded`: even then there is none. */
export type QuotaVerdict =
  | { readonly kind: "fits" }
  | { readonly kind: "makeRoom"; readonly unneeded: readonly MemoryImageId[] }
  | { readonly kind: "exceeded"; readonly neededBytes: number };

/** Nobody can restore these any more; they are being deleted already, and a deletion that failed is tried again. */
const UNNEEDED: ReadonlySet<ImagePhase> = new Set(["refused", "consumed"]);

/** Oldest unneeded first, and no more of them than it takes. An image that a run may need is never given up for another. */
export function judgeQuota({ images, incomingBytes, quotaBytes }: QuotaAsk): QuotaVerdict {
  let usedBytes = images.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0) + incomingBytes;
  if (usedBytes <= quotaBytes) return { kind: "fits" };
  const unneeded: MemoryImageId[] = [];
  for (const image of images.filter(({ phase }) => UNNEEDED.has(phase)).toSorted((a, b) => a.createdAtMs - b.createdAtMs)) {
    unneeded.push(image.id);
    usedBytes -= image.sizeBytes;
    if (usedBytes <= quotaBytes) return { kind: "makeRoom", unneeded };
  }
  return { kind: "exceeded", neededBytes: usedBytes };
}
