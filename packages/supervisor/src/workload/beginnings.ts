// Runners that begin an attempt.
//
// A runner that repeats a failed attempt at once does not listen to what it is told until it has the answer to its start, and
// takes it for known afterwards. A cancellation that reaches it then is lost: its task runs on, and the engine ends the run after a
// minute without it. So a cancellation is told only when the runner has had the time to take that answer in.
import { sleep, type Clock } from "@torpor/kernel";
import type { Runner } from "../runners/runner.ts";

/** From the answer's leaving until the runner listens again: a moment, on a busy machine more of them. */
const TAKES_IN_MS = 1_000;
/** No look at the history waits longer: the runner gives up on us after 10 s. */
const HELD_MS = 5_000;

/** Which runners are beginning an attempt just now. */
export class Beginnings {
  readonly #clock: Clock;
  readonly #open = new WeakMap<Runner, Promise<void>>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The runner begins an attempt by this call. */
  async during<T>(runner: Runner | null, call: () => Promise<T>): Promise<T> {
    const listensAgain = Promise.withResolvers<void>();
    if (runner !== null) this.#open.set(runner, listensAgain.promise);
    try {
      return await call();
    } finally {
      void sleep(this.#clock, TAKES_IN_MS).then(() => listensAgain.resolve());
    }
  }

  /** Resolves as soon as the runner hears what it is told; false when that takes too long, and it must ask again. */
  async hears(runner: Runner): Promise<boolean> {
    const beginning = this.#open.get(runner);
    if (beginning === undefined) return true;
    const late = new AbortController();
    const isLate = sleep(this.#clock, HELD_MS, late.signal).then(() => false);
    const hears = await Promise.race([beginning.then(() => true), isLate]);
    late.abort();
    return hears;
  }
}
