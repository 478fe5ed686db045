/** Bytes of one GiB. */
export const GIB = 1024 ** 3;

/** Whole bytes of so many GiB. */
export function gibToBytes(gib: number): number {
  return Math.round(gib * GIB);
}
