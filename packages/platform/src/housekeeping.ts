import type { Clock, Closable, Timer } from "@torpor/kernel";
import type { Log } from "@torpor/observe";
import type { OneTimeTokens } from "./auth/oneTimeTokens.ts";
import type { TelemetryStore } from "./telemetry/store.ts";

export interface HousekeepingOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly store: Pick<TelemetryStore, "prune">;
  readonly oneTimeTokens: Pick<OneTimeTokens, "prune">;
  readonly retentionMs: number;
}

/** Often enough that what piles up between two times is deleted in a moment. */
const EVERY_MS = 10 * 60_000;

/** Deletes what is old. Every process does it; doing it twice deletes nothing more. */
export class Housekeeping implements Closable {
  readonly #options: HousekeepingOptions;
  #timer: Timer | undefined;
  #running: Promise<void> = Promise.resolve();
  #isClosed = false;

  constructor(options: HousekeepingOptions) {
    this.#options = options;
  }

  start(): void {
    this.#timer = this.#options.clock.after(EVERY_MS, () => {
      this.#running = this.#clean().finally(() => {
        if (!this.#isClosed) this.start();
      });
    });
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#timer?.cancel();
    await this.#running;
  }

  async #clean(): Promise<void> {
    const { clock, log, store, oneTimeTokens, retentionMs } = this.#options;
    try {
      const runs = await store.prune(new Date(clock.nowMs() - retentionMs));
      await oneTimeTokens.prune(new Date(clock.nowMs()));
      if (runs > 0) log.info({ runs }, "deleted old spans and logs");
    } catch (error) {
      log.warn({ err: error }, "old spans, logs and tokens could not be deleted; it is tried again later");
    }
  }
}
