import type { Timer } from "@torpor/kernel";
import type { Core } from "../operations/core.ts";
import { claimDue, nextDue, type DueTimer } from "../sql/timers.ts";

// The one loop that fires what is due.
//
//   T1  It sleeps exactly to the next due time; an earlier one wakes it. It never polls.
//   T2  Due timers are claimed in batches for a short lease, each by one process. The effect deletes the timer in its own
//       transaction, so a crash in between only means that it fires again after the lease.
//   T3  One timer that fails is tried again later and does not hold the others up.

const CLAIM_BATCH = 64;
const CONCURRENCY = 4;
/** After an error of the database (ms). */
const BACKOFF_MS = 500;

export class TimerLoop {
  readonly #core: Core;
  readonly #fire: (timer: DueTimer) => Promise<void>;
  #alarm: Timer | undefined;
  #alarmAtMs = Number.POSITIVE_INFINITY;
  #isRunning = false;
  #runAgain = false;
  #isClosed = true;
  #running: Promise<void> = Promise.resolve();

  constructor(core: Core, fire: (timer: DueTimer) => Promise<void>) {
    this.#core = core;
    this.#fire = fire;
  }

  start(): void {
    this.#isClosed = false;
    this.#pass();
  }

  /** When the loop looks next (epoch ms); a timer set for later than this needs nobody to be woken. */
  get nextLookAtMs(): number {
    return this.#alarmAtMs;
  }

  /** A timer was set for then. */
  wakeAt(dueAtMs: number): void {
    if (this.#isClosed) return;
    // The pass in flight may have read the next due time already.
    if (this.#isRunning) this.#runAgain = true;
    this.#setAlarm(dueAtMs);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#alarm?.cancel();
    await this.#running;
  }

  #setAlarm(atMs: number): void {
    if (this.#alarm !== undefined && this.#alarmAtMs <= atMs) return;
    this.#alarm?.cancel();
    this.#alarmAtMs = atMs;
    this.#alarm = this.#core.clock.after(Math.max(0, atMs - this.#core.clock.nowMs()), () => {
      this.#alarm = undefined;
      this.#alarmAtMs = Number.POSITIVE_INFINITY;
      this.#pass();
    });
  }

  #pass(): void {
    if (this.#isClosed) return;
    if (this.#isRunning) {
      this.#runAgain = true;
      return;
    }
    this.#isRunning = true;
    this.#running = this.#passes();
  }

  async #passes(): Promise<void> {
    try {
      do {
        this.#runAgain = false;
        await this.#once();
      } while (this.#runAgain && !this.#isClosed);
    } finally {
      this.#isRunning = false;
    }
  }

  async #once(): Promise<void> {
    const { clock, db, settings, log } = this.#core;
    try {
      const nowMs = clock.nowMs();
      const due = await claimDue(db, new Date(nowMs), new Date(nowMs + settings.timerLeaseMs), CLAIM_BATCH);
      await this.#fireAll(due);
      if (due.length === CLAIM_BATCH) this.#runAgain = true;
      const next = await nextDue(db);
      this.#setAlarm(Math.min(next?.getTime() ?? Number.POSITIVE_INFINITY, clock.nowMs() + settings.maxTimerSleepMs));
    } catch (error) {
      log.warn({ err: error }, "cannot look for due timers");
      this.#setAlarm(clock.nowMs() + BACKOFF_MS);
    }
  }

  async #fireAll(due: readonly DueTimer[]): Promise<void> {
    const waiting = [...due];
    const worker = async (): Promise<void> => {
      for (let timer = waiting.shift(); timer !== undefined; timer = waiting.shift()) {
        if (this.#isClosed) return;
        try {
          await this.#fire(timer);
        } catch (error) {
          // Its lease ends and it fires again (T2, T3).
          this.#core.log.error({ err: error, kind: timer.kind, subject: timer.subject }, "cannot fire a timer");
        }
      }
    };
    await Promise.all(Array.from({ length: Math.min(CONCURRENCY, due.length) }, worker));
  }
}
