import { ManualClock, sleep, systemClock, type Clock } from "@torpor/kernel";

export interface UntilOptions {
  /** Real time after which the test fails. */
  readonly limitMs?: number;
  /** What one poll moves a clock that stands still: by default enough for the engine's own short delays to pass, far below any stall time. */
  readonly stepMs?: number;
  readonly pollMs?: number;
}

/** A busy machine takes its time. */
const LIMIT_MS = 20_000;
const POLL_MS = 3;
const STEP_MS = 10;

/** Polls until `probe` gives something that is neither false nor undefined nor null; fails with `what` after the limit. */
export async function until<T>(
  clock: Clock,
  what: string,
  probe: () => Promise<T> | T,
  options: UntilOptions = {},
): Promise<NonNullable<T>> {
  const deadlineMs = performance.now() + (options.limitMs ?? LIMIT_MS);
  for (;;) {
    const value = await probe();
    if (value !== undefined && value !== null && value !== false) return value;
    if (performance.now() > deadlineMs) throw new Error(`Waited ${options.limitMs ?? LIMIT_MS} ms in vain until ${what}`);
    if (clock instanceof ManualClock) await clock.advance(options.stepMs ?? STEP_MS);
    await sleep(systemClock, options.pollMs ?? POLL_MS);
  }
}
