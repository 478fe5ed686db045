import type { Timer } from "@torpor/kernel";
import type { Core, Wakes } from "../operations/core.ts";
import { wakeOthers } from "../sql/notify.ts";

// Wakes cross to other processes after the commit, gathered: a notification inside a transaction takes a lock of the
// whole database until that transaction is on disk, and would put all triggers in one line. What a crash in between
// loses is found by the next look: each long poll begins with one, and the due-time loop looks every few seconds.

export interface LocalWakes {
  ready(): void;
  room(): void;
  timer(dueAtMs: number): void;
  resume(runId: string): void;
  /** When this process looks at its timers next (epoch ms). */
  nextLookAtMs(): number;
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
  readonly #core: () => Core;
  readonly #local: LocalWakes;
  readonly #me: string;
  #isReady = false;
  #timerAtMs: number | null = null;
  #pause: Timer | undefined;
  #isDirty = false;
  #isClosed = false;

  constructor(core: () => Core, local: LocalWakes, me: string) {
    this.#core = core;
    this.#local = local;
    this.#me = me;
  }

  ready(): void {
    this.#local.ready();
    this.#isReady = true;
    this.#tell();
  }

  room(): void {
    this.#local.room();
    this.#isReady = true;
    this.#tell();
  }

  timer(dueAt: Date): void {
    const atMs = dueAt.getTime();
    // Others look no later than this process did when it chose its next look, give or take one sleep.
    const isNews = atMs < this.#local.nextLookAtMs();
    this.#local.timer(atMs);
    if (!isNews) return;
    this.#timerAtMs = Math.min(this.#timerAtMs ?? atMs, atMs);
    this.#tell();
  }

  resume(runId: string): void {
    this.#local.resume(runId);
  }

  /** What another process sent. */
  receive(text: string): void {
    const message = parse(text);
    if (message === undefined || message.from === this.#me) return;
    if (message.ready) {
      this.#local.ready();
      this.#local.room();
    }
    if (message.timer !== null) this.#local.timer(message.timer);
  }

  close(): void {
    this.#isClosed = true;
    this.#pause?.cancel();
  }

  #tell(): void {
    if (this.#isClosed) return;
    this.#isDirty = true;
    if (this.#pause !== undefined) return;
    this.#send();
    this.#pause = this.#core().clock.after(GATHER_MS, () => {
      this.#pause = undefined;
      if (this.#isDirty) this.#tell();
    });
  }

  #send(): void {
    const message: Message = { from: this.#me, ready: this.#isReady, timer: this.#timerAtMs };
    this.#isDirty = false;
    this.#isReady = false;
    this.#timerAtMs = null;
    const core = this.#core();
    wakeOthers(core.db, JSON.stringify(message)).catch((error: unknown) => core.log.debug({ err: error }, "cannot wake the other processes"));
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
