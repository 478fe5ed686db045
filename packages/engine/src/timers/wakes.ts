import type { Clock, Timer } from "@torpor/kernel";
import type { Log } from "@torpor/observe";
import type { Wakes } from "../operations/core.ts";
import type { Database } from "../sql/database.ts";
import { wakeOthers } from "../sql/notify.ts";

// Wakes cross to other processes after the commit, gathered: a notification inside a transaction takes a lock of the
// whole database until that transaction is on disk, and would put all triggers in one line. What a crash in between
// loses is found by the next look: each long poll begins with one, and the due-time loop looks every few seconds.

/** Who waits in this process. */
export interface Sleepers {
  readonly dispatcher: { ready(): void; room(): void };
  readonly loop: { readonly nextLookAtMs: number; wakeAt(dueAtMs: number): void };
  readonly resumer: { resume(runId: string): void };
}

/** Other processes are told at most this often (ms). */
const GATHER_MS = 20;

interface Message {
  readonly from: string;
  readonly ready: boolean;
  readonly timer: number | null;
}

/** Wakes this process at once and the others a moment later. */
export class WakeSender implements Wakes {
  readonly #to: { readonly db: Database; readonly clock: Clock; readonly log: Log };
  readonly #me: string;
  #here: Sleepers | undefined;
  #isReady = false;
  #timerAtMs: number | null = null;
  #pause: Timer | undefined;
  #isDirty = false;
  #isClosed = false;

  /** `me` is a name that no other process has: its own messages come back to it. */
  constructor(to: { readonly db: Database; readonly clock: Clock; readonly log: Log }, me: string) {
    this.#to = to;
    this.#me = me;
  }

  /** Those of this process are made after it, because they use it. */
  connect(here: Sleepers): void {
    this.#here = here;
  }

  ready(): void {
    this.#here?.dispatcher.ready();
    this.#isReady = true;
    this.#tell();
  }

  room(): void {
    this.#here?.dispatcher.room();
    this.#isReady = true;
    this.#tell();
  }

  timer(dueAt: Date): void {
    const atMs = dueAt.getTime();
    // Others look no later than this process did when it chose its next look, give or take one sleep.
    const isNews = atMs < (this.#here?.loop.nextLookAtMs ?? 0);
    this.#here?.loop.wakeAt(atMs);
    if (!isNews) return;
    this.#timerAtMs = Math.min(this.#timerAtMs ?? atMs, atMs);
    this.#tell();
  }

  resume(runId: string): void {
    this.#here?.resumer.resume(runId);
  }

  /** What another process sent. */
  receive(text: string): void {
    const message = parse(text);
    if (message === undefined || message.from === this.#me) return;
    if (message.ready) this.#lookForRuns();
    if (message.timer !== null) this.#here?.loop.wakeAt(message.timer);
  }

  /** Something may have been missed: everybody here looks. */
  catchUp(): void {
    this.#lookForRuns();
    this.#here?.loop.wakeAt(this.#to.clock.nowMs());
  }

  close(): void {
    this.#isClosed = true;
    this.#pause?.cancel();
  }

  #lookForRuns(): void {
    this.#here?.dispatcher.ready();
  }

  #tell(): void {
    if (this.#isClosed) return;
    this.#isDirty = true;
    if (this.#pause !== undefined) return;
    this.#send();
    this.#pause = this.#to.clock.after(GATHER_MS, () => {
      this.#pause = undefined;
      if (this.#isDirty) this.#tell();
    });
  }

  #send(): void {
    const message: Message = { from: this.#me, ready: this.#isReady, timer: this.#timerAtMs };
    this.#isDirty = false;
    this.#isReady = false;
    this.#timerAtMs = null;
    wakeOthers(this.#to.db, JSON.stringify(message)).catch((error: unknown) =>
      this.#to.log.debug({ err: error }, "cannot wake the other processes"),
    );
  }
}

function parse(text: string): Message | undefined {
  try {
    const value = JSON.parse(text) as Partial<Message>;
    return { from: String(value.from), ready: value.ready === true, timer: typeof value.timer === "number" ? value.timer : null };
  } catch {
    return undefined;
  }
}
