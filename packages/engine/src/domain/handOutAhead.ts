import type { WaitpointType } from "@torpor/contracts";

// A sleeping run whose end is known is handed out a moment before it: finding it, handing it out and taking it takes some tens of
// milliseconds, by which its task would go on too late. `continue` is answered at the very end and not before, whoever asks for it.

/** One of the things that a run waits for. */
export interface Blocker {
  readonly type: WaitpointType;
  readonly status: "PENDING" | "COMPLETED";
  readonly completes_after: Date | null;
}

/**
 * When the last of them is over (epoch ms): `-Infinity` when all are over, null when nobody knows. The time-out of a token is the
 * latest time at which it is over, which nobody may take for its end.
 */
export function knownEndMs(blockers: readonly Blocker[]): number | null {
  let endsAtMs = Number.NEGATIVE_INFINITY;
  for (const { type, status, completes_after: end } of blockers) {
    if (status === "COMPLETED") continue;
    if (type !== "DATETIME" || end === null) return null;
    endsAtMs = Math.max(endsAtMs, end.getTime());
  }
  return endsAtMs;
}

/** When a sleeping run may be queued (epoch ms); null: when what it waits for is over, and not before. */
export function queueAtMs(blockers: readonly Blocker[], aheadMs: number): number | null {
  const endsAtMs = knownEndMs(blockers);
  return endsAtMs === null ? null : endsAtMs - aheadMs;
}
