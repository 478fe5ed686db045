/** A timer that was started; cancelling twice, or after it fired, is harmless. */
export interface Timer {
  cancel(): void;
}

/**
 * The only source of time. `nowMs` is wall time (it may jump), `monotonicMs` never goes back and is what
 * deadlines are measured with. Everything above the drivers takes a clock, so that a test can turn it.
 */
export interface Clock {
  /** Milliseconds since the Unix epoch. */
  nowMs(): number;
  /** Milliseconds since an arbitrary start; only differences mean something. */
  monotonicMs(): number;
  /** Calls `fire` once, not before `delayMs` have passed. The timer does not keep the process alive. */
  after(delayMs: number, fire: () => void): Timer;
}

/** Longest delay that `setTimeout` takes; beyond it Node fires at once. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

/** The real clock of this process. */
export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  after(delayMs, fire) {
    const handle = setTimeout(fire, Math.min(Math.max(0, delayMs), MAX_TIMEOUT_MS));
    handle.unref();
    return { cancel: () => clearTimeout(handle) };
  },
};

/** Resolves after `delayMs`, or at once with `"aborted"` when the signal fires first. */
export function sleep(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<"slept" | "aborted"> {
  if (signal?.aborted === true) return Promise.resolve("aborted");
  return new Promise((resolve) => {
    const onAbort = (): void => {
      timer.cancel();
      resolve("aborted");
    };
    const timer = clock.after(delayMs, () => {
      signal?.removeEventListener("abort", onAbort);
      resolve("slept");
    });
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}
