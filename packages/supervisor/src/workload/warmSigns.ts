// Signs that a runner has taken the run it was given: its first call about it, or its word over the socket (L12).
//
// A sign is of one hand-out, which its snapshot names: a runner that begins a run as it was handed out before says nothing of the
// run as it is handed out now.
import type { Clock } from "@torpor/kernel";

/** Who waits for the first sign of a run, by the snapshot that it was handed out with. */
export class WarmSigns {
  readonly #clock: Clock;
  readonly #waiting = new Map<string, Set<() => void>>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Some runner here shows that it has the run, as it was handed out at this snapshot. */
  seen(snapshotId: string): void {
    const waiting = this.#waiting.get(snapshotId);
    this.#waiting.delete(snapshotId);
    for (const resolve of waiting ?? []) resolve();
  }

  /** True at the first sign; false when none came in time, or `signal` came before. */
  async within(snapshotId: string, withinMs: number, signal: AbortSignal): Promise<boolean> {
    if (signal.aborted) return false;
    return await new Promise((resolve) => {
      const end = (isSeen: boolean): void => {
        timer.cancel();
        signal.removeEventListener("abort", stop);
        const waiting = this.#waiting.get(snapshotId);
        waiting?.delete(seen);
        if (waiting?.size === 0) this.#waiting.delete(snapshotId);
        resolve(isSeen);
      };
      const seen = (): void => end(true);
      const stop = (): void => end(false);
      const timer = this.#clock.after(withinMs, stop);
      signal.addEventListener("abort", stop, { once: true });
      const waiting = this.#waiting.get(snapshotId) ?? new Set();
      this.#waiting.set(snapshotId, waiting.add(seen));
    });
  }
}
