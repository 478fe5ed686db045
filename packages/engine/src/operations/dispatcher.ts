import type { DequeuedMessage } from "@torpor/contracts";
import type { Timer } from "@torpor/kernel";
import type { DequeueOptions, WorkerRef } from "../api.ts";
import { nodeOf } from "../domain/nodes.ts";
import { handOutRound, type Round } from "./handOut.ts";
import type { Core } from "./core.ts";

// Answers the workers of this process that wait for a run.
//
//   H1  One look into the queues at a time, for all who wait, in the order in which they came.
//   H2  Nobody polls: a look follows a new waiter, a wake (ready, room), or the time of the next run that is known.
//   H3  A wake that arrives during a look is followed by another look, so none is lost.
//   H4  Room under a limit matters only if the last look left somebody out because of it.
//   H5  A run whose memory image is on a node goes to that node's waiters; to others from the time that the node counts as lost.

interface Waiter {
  readonly worker: WorkerRef;
  readonly answer: (messages: readonly DequeuedMessage[]) => void;
  readonly isGone: () => boolean;
}

const MAX_PER_ROUND = 32;
/** Runs that were held by somebody are looked at again after this (ms). */
const AGAIN_MS = 10;
/** After an error of the database: waiters are answered with nothing, and the next look waits (ms). */
const BACKOFF_MS = 250;

export class Dispatcher {
  readonly #core: Core;
  /** Puts a run back that nobody is there to take. */
  readonly #giveBack: (worker: WorkerRef, message: DequeuedMessage) => Promise<void>;
  readonly #waiters = new Set<Waiter>();
  #isLooking = false;
  #lookAgain = false;
  #wasBlocked = false;
  #isClosed = false;
  #alarm: Timer | undefined;
  #alarmAtMs = Number.POSITIVE_INFINITY;
  #looking: Promise<void> = Promise.resolve();
  readonly #returning = new Set<Promise<void>>();

  constructor(core: Core, giveBack: (worker: WorkerRef, message: DequeuedMessage) => Promise<void>) {
    this.#core = core;
    this.#giveBack = giveBack;
  }

  /** Waits for a run, at most `waitMs`; nothing when there was none, the caller left, or the engine closed. */
  dequeue(worker: WorkerRef, options: DequeueOptions): Promise<readonly DequeuedMessage[]> {
    if (this.#isClosed || options.signal.aborted) return Promise.resolve([]);
    return new Promise((resolve) => {
      const finish = (messages: readonly DequeuedMessage[]): void => {
        this.#waiters.delete(waiter);
        timer?.cancel();
        options.signal.removeEventListener("abort", leave);
        resolve(messages);
      };
      const leave = (): void => finish([]);
      const waiter: Waiter = { worker, answer: finish, isGone: () => !this.#waiters.has(waiter) };
      this.#waiters.add(waiter);
      options.signal.addEventListener("abort", leave, { once: true });
      // The first look is always awaited, so that `waitMs: 0` means one look and not none.
      let timer: Timer | undefined;
      const first = this.#look();
      void first.then(() => {
        if (!waiter.isGone()) timer = this.#core.clock.after(options.waitMs, leave);
      });
    });
  }

  /** A run has become ready, here or in another process. */
  ready(): void {
    if (this.#waiters.size > 0) void this.#look();
  }

  /** Room was made under some limit. */
  room(): void {
    if (this.#waiters.size > 0 && (this.#wasBlocked || this.#isLooking)) void this.#look();
  }

  /** Answers everybody with nothing, waits for the look in flight and gives back what it brought. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#alarm?.cancel();
    for (const waiter of this.#waiters) waiter.answer([]);
    await this.#looking;
    await Promise.all(this.#returning);
  }

  /** Resolves when a look that began after the call is over. */
  #look(): Promise<void> {
    if (this.#isLooking) {
      this.#lookAgain = true;
      return this.#looking;
    }
    this.#isLooking = true;
    this.#looking = this.#lookWhileAsked();
    return this.#looking;
  }

  async #lookWhileAsked(): Promise<void> {
    try {
      do {
        this.#lookAgain = false;
        await this.#lookOnce();
      } while (this.#lookAgain && !this.#isClosed);
    } finally {
      // In the same step as the check above: a wake after it begins a look of its own (H3).
      this.#isLooking = false;
    }
  }

  async #lookOnce(): Promise<void> {
    const waiters = inRound([...this.#waiters]);
    if (waiters.length === 0) return;
    try {
      const round = await handOutRound(
        this.#core,
        waiters.map((waiter) => waiter.worker),
      );
      this.#settle(waiters, round);
    } catch (error) {
      this.#core.log.warn({ err: error }, "cannot look into the queues");
      for (const waiter of waiters) waiter.answer([]);
      if (this.#waiters.size > 0) this.#wakeIn(BACKOFF_MS);
    }
  }

  #settle(waiters: readonly Waiter[], round: Round): void {
    this.#wasBlocked = round.isBlocked;
    for (const { to, message } of round.handed) {
      const waiter = waiters[to];
      if (waiter === undefined) continue;
      // Left while the look was in flight: the run is his, and nobody would start it.
      if (waiter.isGone()) this.#return(waiter.worker, message);
      else waiter.answer([message]);
    }
    if (this.#waiters.size === 0) return;
    if (round.handed.length > 0) this.#lookAgain = true;
    else if (round.again) this.#wakeIn(AGAIN_MS);
    if (round.nextAt !== null) this.#wakeIn(Math.max(0, round.nextAt.getTime() - this.#core.clock.nowMs()));
  }

  #return(worker: WorkerRef, message: DequeuedMessage): void {
    const work = this.#giveBack(worker, message)
      .catch((error: unknown) =>
        this.#core.log.warn(
          { err: error, run: message.run.friendlyId },
          "cannot give a run back that nobody waits for; its stall timer will",
        ),
      )
      .finally(() => this.#returning.delete(work));
    this.#returning.add(work);
  }

  /** Looks after that time at the latest. */
  #wakeIn(delayMs: number): void {
    const atMs = this.#core.clock.monotonicMs() + delayMs;
    if (this.#alarm !== undefined && this.#alarmAtMs <= atMs) return;
    this.#alarm?.cancel();
    this.#alarmAtMs = atMs;
    this.#alarm = this.#core.clock.after(delayMs, () => {
      this.#alarm = undefined;
      this.#alarmAtMs = Number.POSITIVE_INFINITY;
      this.ready();
    });
  }
}

/** Whose turn it is in one look: who has waited longest, and of each node somebody, since a run may be for it alone. */
function inRound(waiters: readonly Waiter[]): readonly Waiter[] {
  if (waiters.length <= MAX_PER_ROUND) return waiters;
  const first = new Map(waiters.toReversed().map((waiter) => [nodeOf(waiter.worker), waiter]));
  const others = waiters.filter((waiter) => first.get(nodeOf(waiter.worker)) !== waiter);
  return [...first.values(), ...others.slice(0, Math.max(0, MAX_PER_ROUND - first.size))];
}
