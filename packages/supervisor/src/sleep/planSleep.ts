// Whether a waiting run sleeps, and when. Pure; a table of cases is its test.
//
// Everything is told in one unit: milliseconds for which the sandbox's memory could be held for the same price. So a wait that
// is held for t costs t, and a sleep costs the break-even B, whenever it begins.
//
//   known end      nearer than B: holding is cheaper. Farther: sleep at once, since nothing can be learned by waiting
//   unknown end    sleep after B: whatever the wait lasts, that never costs more than twice what it would have cost to know.
//                  What this task's waits lasted before moves the delay (see pastWaits.ts)
//   pressure       others need the room: at once
//   fixed          the operator has said when; his word counts for every wait
import type { WaitpointType } from "@torpor/contracts";
import type { SleepPrices } from "./nodeCosts.ts";
import type { PastWaits } from "./pastWaits.ts";

/** What a run waits for. `SEVERAL`: more than one kind; `UNKNOWN`: a foreign platform does not say. */
export type WaitKind = WaitpointType | "SEVERAL" | "UNKNOWN";

export interface WaitEnd {
  /** Milliseconds from now; negative when it is over. */
  readonly inMs: number;
  /** False: it may end sooner (a token with a time-out). */
  readonly isExact: boolean;
}

export interface SleepFacts {
  readonly kind: WaitKind;
  /** When the wait ends at the latest; null: nobody knows. */
  readonly end: WaitEnd | null;
  /** How long it has lasted. */
  readonly waitedMs: number;
  /** What waits of this kind lasted for this task; null: none is known. */
  readonly past: Pick<PastWaits, "bestDelayMs" | "expectedRestMs"> | null;
  readonly prices: SleepPrices;
  /** True: a run waits for room here, or memory is short. */
  readonly isShort: boolean;
  /** `COMPUTE_SNAPSHOT_DELAY_MS`, when it is set. */
  readonly fixedDelayMs: number | null;
}

export type SleepReason = "fixed" | "pressure" | "near_end" | "far_end" | "break_even" | "learned";

interface Why {
  readonly reason: SleepReason;
  /** How much longer the wait is expected to last; null: nothing is known. */
  readonly expectedRestMs: number | null;
  /** What a sleep costs, in milliseconds of holding. */
  readonly breakEvenMs: number;
}

/** Delays count from now. "At once" is as soon as it is safe: see MIN_BEFORE_FREEZE_MS. */
export type SleepPlan = Why &
  ({ readonly kind: "stay" } | { readonly kind: "at_once" } | { readonly kind: "after"; readonly delayMs: number });

/** Longest that a run is held because its task's waits were short so far. */
const MAX_DELAY_MS = 60_000;

/** Decides about one waiting run. */
export function planSleep(facts: SleepFacts): SleepPlan {
  const { end, prices, waitedMs } = facts;
  const breakEvenMs = end !== null && end.isExact ? prices.knownEndMs : prices.unknownEndMs;
  const why = (reason: SleepReason): Why => ({ reason, expectedRestMs: expectedRestMs(facts), breakEvenMs });
  if (facts.isShort && (end === null || end.inMs > prices.freezeMs)) return { kind: "at_once", ...why("pressure") };
  if (facts.fixedDelayMs !== null) return sleepAfter(facts.fixedDelayMs - waitedMs, why("fixed"));
  if (end !== null && end.inMs <= breakEvenMs) return { kind: "stay", ...why("near_end") };
  if (end !== null && end.isExact) return { kind: "at_once", ...why("far_end") };
  const learnedMs = facts.past?.bestDelayMs(breakEvenMs) ?? null;
  const delayMs = Math.min(MAX_DELAY_MS, learnedMs ?? breakEvenMs);
  return sleepAfter(delayMs - waitedMs, why(learnedMs === null ? "break_even" : "learned"));
}

/** How much longer the wait is expected to last; null: nothing is known. */
export function expectedRestMs({ end, past, waitedMs }: Pick<SleepFacts, "end" | "past" | "waitedMs">): number | null {
  const learnedMs = end?.isExact === true ? null : (past?.expectedRestMs(waitedMs) ?? null);
  if (end === null || (!end.isExact && learnedMs === null)) return learnedMs; // a time-out says nothing about when it is answered
  return Math.max(0, Math.min(end.inMs, learnedMs ?? Number.POSITIVE_INFINITY));
}

/** Longest that a frozen sandbox is kept in memory: what sleeps longer is to cost nothing. */
const MAX_KEEP_MS = 300_000;

/**
 * How long the frozen sandbox of a run that has just fallen asleep is worth keeping, where there is memory to spare; 0: not at all.
 * A wait whose end is known exactly is made ready for ahead of time, so nothing is gained. Of the others twice as long as the rest of
 * the wait is expected to last, if that is short; where nothing is known, it is expected to last as long again as it has lasted.
 */
export function planKeep({ end, past, waitedMs, isShort }: Pick<SleepFacts, "end" | "past" | "waitedMs" | "isShort">): number {
  if (isShort || end?.isExact === true) return 0;
  const restMs = past?.expectedRestMs(waitedMs) ?? waitedMs;
  return restMs > MAX_KEEP_MS ? 0 : Math.min(2 * restMs, MAX_KEEP_MS, end?.inMs ?? MAX_KEEP_MS);
}

function sleepAfter(delayMs: number, why: Why): SleepPlan {
  return delayMs <= 0 ? { kind: "at_once", ...why } : { kind: "after", delayMs, ...why };
}
