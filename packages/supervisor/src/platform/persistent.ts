import { sleep, backoffMs, type Clock } from "@torpor/kernel";
import type { CallOutcome } from "@torpor/http";
import { isPassing } from "./platform.ts";

export interface PersistOptions {
  readonly clock: Clock;
  readonly random: () => number;
  readonly signal: AbortSignal;
  /** How long it is worth trying. */
  readonly budgetMs: number;
}

/** What became of a call that was tried until it was answered or its budget was spent. */
export interface Persisted<T> {
  readonly outcome: CallOutcome<T>;
  /** An earlier try may have been carried out although its answer was lost: a refusal now may be of its own repeat. */
  readonly mayHaveHappened: boolean;
}

const BASE_MS = 100;
const MAX_MS = 2_000;

/** Repeats a call over an outage of the other side. */
export async function persistently<T>(options: PersistOptions, call: () => Promise<CallOutcome<T>>): Promise<Persisted<T>> {
  const untilMs = options.clock.monotonicMs() + options.budgetMs;
  let mayHaveHappened = false;
  for (let attempt = 1; ; attempt++) {
    const outcome = await call();
    if (!isPassing(outcome) || options.signal.aborted) return { outcome, mayHaveHappened };
    mayHaveHappened ||= outcome.kind === "refused" ? outcome.status >= 500 : outcome.kind === "unreachable" && outcome.happened === "maybe";
    const delayMs = backoffMs(attempt, { baseMs: BASE_MS, factor: 2, maxMs: MAX_MS, random: options.random });
    if (options.clock.monotonicMs() + delayMs > untilMs) return { outcome, mayHaveHappened };
    await sleep(options.clock, delayMs, options.signal);
  }
}
