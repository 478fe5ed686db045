// Runners that wait for a run.
//
//   B1  A registration lives exactly as long as its connection, and ends before the runner's own patience does: nobody is
//       given a run that he would not read.
//   B2  The newest poll of a controller is the only one: the next can arrive before the end of the last is seen.
//   B3  A run is given to one runner at a time. It counts as given when it was written to that runner's connection; if that
//       fails the next runner is tried.
//   B4  Between two polls of a runner there is a gap of a moment. An offer waits that long for one that was here just now.
//   B5  Where a supervisor tells what becomes of the run, it is taken when the runner has begun it, and not before (L12). A runner
//       that gives no sign is passed over; after so many the run is better off in a sandbox of its own.
import type { DequeuedMessage } from "@torpor/contracts";
import type { Clock, Timer } from "@torpor/kernel";
import { HandOvers } from "./handOvers.ts";
import { keyText, type IdleKey } from "./idleKey.ts";

/** The rest of a poll in which a run would come too late to be read for certain. */
export const LATE_MS = 500;
/** How long after the end of a poll its runner is expected back (B4). */
const GAP_MS = 300;
/** Each costs about a second (B5). */
const MAX_SILENT = 2;

export interface Poll {
  readonly controllerId: string;
  readonly key: IdleKey;
  /** Whoever polls tells what becomes of a run, and is back before its poll has ended: no gap is waited for. */
  readonly settles: boolean;
  /** Fires when the connection has ended. */
  readonly signal: AbortSignal;
  /** Resolves true when the answer was written, false when the connection ended before. */
  readonly written: Promise<boolean>;
}

/** How an offer ended. `given`: written to a runner of whom nothing more is known. `started`: the runner has begun the run. */
export type OfferOutcome = { readonly kind: "none" } | { readonly kind: "given" | "started"; readonly controllerId: string };

interface Registration {
  readonly poll: Poll;
  readonly give: (message: DequeuedMessage | null) => void;
  timer: Timer;
}

export interface IdleRunnersOptions {
  readonly clock: Clock;
  readonly connectionTimeoutMs: number;
  readonly maxIdle: number;
}

export class IdleRunners {
  readonly handOvers: HandOvers;
  readonly #options: IdleRunnersOptions;
  /** In the order in which they came; the newest are tried first, because their connections are the freshest. */
  readonly #registered = new Map<string, Registration>();
  /** Keys of runners that were here just now, and until when they are expected back. */
  readonly #expected = new Map<string, number>();
  readonly #arrivals = new Set<(key: string) => void>();

  constructor(options: IdleRunnersOptions) {
    this.#options = options;
    this.handOvers = new HandOvers(options.clock);
  }

  get count(): number {
    return this.#registered.size;
  }

  /**
   * Waits for a run. `null`: none came for this poll, because it ended, was replaced, or there are too many.
   * A poll whose time is over stays open without being offered anything: its runner ends it and comes again at once.
   */
  wait(poll: Poll): Promise<DequeuedMessage | null> {
    const { clock, connectionTimeoutMs, maxIdle } = this.#options;
    this.#end(poll.controllerId, null);
    if (poll.signal.aborted || this.#registered.size >= maxIdle) return Promise.resolve(null);
    const key = keyText(poll.key);
    const waiting = new Promise<DequeuedMessage | null>((resolve) => {
      const timer = clock.after(Math.max(0, connectionTimeoutMs - LATE_MS), () => this.#expire(poll, key));
      this.#registered.set(poll.controllerId, { poll, give: resolve, timer });
      poll.signal.addEventListener("abort", () => {
        if (this.#registered.get(poll.controllerId)?.poll === poll) this.#expire(poll, key);
        resolve(null);
      });
    });
    this.#expected.delete(key);
    for (const arrived of this.#arrivals) arrived(key);
    return waiting;
  }

  /**
   * Gives a run to an idle runner that fits. `onGiven` is told of each runner that it was written to, before that one's answer is
   * waited for (B5).
   */
  async offer(message: DequeuedMessage, wanted: IdleKey, onGiven: (controllerId: string) => void = () => {}): Promise<OfferOutcome> {
    const key = keyText(wanted);
    for (let silent = 0; silent < MAX_SILENT;) {
      const found = this.#newest(key) ?? (await this.#soon(key));
      if (found === undefined) return { kind: "none" };
      const { controllerId, settles, written } = found.poll;
      const settled = settles ? this.handOvers.expect(controllerId, message.run.friendlyId) : undefined;
      this.#remove(found);
      found.give(message);
      if (!(await written)) continue;
      onGiven(controllerId);
      if (settled === undefined) return { kind: "given", controllerId };
      const outcome = await settled;
      if (outcome === "started") return { kind: "started", controllerId };
      if (outcome === "silent") silent++;
    }
    return { kind: "none" };
  }

  /** Ends every poll; their runners exit or come again. */
  close(): void {
    for (const controllerId of this.#registered.keys()) this.#end(controllerId, null);
    this.handOvers.close();
  }

  #newest(key: string): Registration | undefined {
    return [...this.#registered.values()].findLast(({ poll }) => keyText(poll.key) === key && !poll.signal.aborted);
  }

  /** B4. */
  async #soon(key: string): Promise<Registration | undefined> {
    const leftMs = (this.#expected.get(key) ?? 0) - this.#options.clock.monotonicMs();
    if (leftMs <= 0) return undefined;
    await new Promise<void>((resolve) => {
      const done = (): void => {
        timer.cancel();
        this.#arrivals.delete(arrived);
        resolve();
      };
      const arrived = (arrivedKey: string): void => {
        if (arrivedKey === key) done();
      };
      const timer = this.#options.clock.after(leftMs, done);
      this.#arrivals.add(arrived);
    });
    return this.#newest(key);
  }

  #expire(poll: Poll, key: string): void {
    const registration = this.#registered.get(poll.controllerId);
    if (registration?.poll !== poll) return;
    this.#remove(registration);
    if (poll.settles) return;
    const nowMs = this.#options.clock.monotonicMs();
    for (const [old, untilMs] of this.#expected) if (untilMs < nowMs) this.#expected.delete(old);
    this.#expected.set(key, nowMs + (poll.signal.aborted ? GAP_MS : LATE_MS + GAP_MS));
  }

  #end(controllerId: string, message: null): void {
    const registration = this.#registered.get(controllerId);
    if (registration === undefined) return;
    this.#remove(registration);
    registration.give(message);
  }

  #remove(registration: Registration): void {
    registration.timer.cancel();
    if (this.#registered.get(registration.poll.controllerId) === registration) this.#registered.delete(registration.poll.controllerId);
  }
}
