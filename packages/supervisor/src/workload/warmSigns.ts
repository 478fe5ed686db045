// Signs that a runner has taken the run it was given: its first call about it, or its word over the socket (L12).
import type { Clock } from "@torpor/kernel";

/** Who waits for the first sign of a run, by run. */
export class WarmSigns {
  readonly #clock: Clock;
  readonly #waiting = new Map<string, Set<() => void>>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Some runner here shows that it has the run. */
  seen(runId: string): void {
    const waiting = this.#waiting.get(runId);
    this.#waiting.delete(runId);
    for (const resolve of waiting ?? []) resolve();
  }

  /** True at the first sign; false when none came in time, or `signal` came before. */
  async within(runId: string, withinMs: number, signal: AbortSignal): Promise<boolean> {
    if (signal.aborted) return false;
    return await new Promise((resolve) => {
      const end = (isSeen: boolean): void => {
        timer.cancel();
        signal.removeEventListener("abort", stop);
        const waiting = this.#waiting.get(runId);
        waiting?.delete(seen);
        if (waiting?.size === 0) this.#waiting.delete(runId);
        resolve(isSeen);
      };
      const seen = (): void => end(true);
      const stop = (): void => end(false);
      const timer = this.#clock.after(withinMs, stop);
      signal.addEventListener("abort", stop, { once: true });
      const waiting = this.#waiting.get(runId) ?? new Set();
      this.#waiting.set(runId, waiting.add(seen));
    });
  }
}
