import { availableParallelism } from "node:os";
import type { Mutant } from "./mutants/mutant.ts";
import type { Failure } from "./runSeed.ts";
import type { ProfileName } from "./scenario/profiles.ts";
import { SimThread } from "./simThread.ts";

export interface SeedRange {
  readonly fromSeed: number;
  readonly count: number;
  readonly profile: ProfileName;
  /** Makes failing scenarios small; that takes some hundred runs of each. */
  readonly shrinks: boolean;
  readonly stopsAtFirst: boolean;
  readonly signal?: AbortSignal;
  readonly onProgress?: (done: number, failures: readonly Failure[]) => void;
}

export interface SimulateResult {
  readonly done: number;
  readonly events: number;
  readonly failures: readonly Failure[];
}

/** Seeds that a thread is given at once. */
const PORTION = 25;

/** Threads for one range of seeds after another: they load the code once, and it gets faster the longer they run. */
export class SimPool {
  readonly #mutant: Mutant | null;
  readonly #threadCount: number;
  /** Made when they are needed. */
  readonly #threads: SimThread[] = [];

  /** All cores by default. */
  constructor(options: { readonly mutant?: Mutant | null; readonly threads?: number } = {}) {
    this.#mutant = options.mutant ?? null;
    this.#threadCount = options.threads ?? availableParallelism();
  }

  /** Runs seeds, one range at a time. Which of them fail does not depend on how many threads there are. */
  async run({ fromSeed, count, profile, shrinks, stopsAtFirst, signal, onProgress }: SeedRange): Promise<SimulateResult> {
    const failures: Failure[] = [];
    let next = fromSeed;
    let done = 0;
    let events = 0;
    const isOver = (): boolean => next >= fromSeed + count || signal?.aborted === true || (stopsAtFirst && failures.length > 0);
    const work = async (thread: SimThread): Promise<void> => {
      while (!isOver()) {
        const seeds = Array.from({ length: Math.min(PORTION, fromSeed + count - next) }, (_, index) => next + index);
        next += seeds.length;
        const answer = await thread.ask({ kind: "seeds", seeds, profile, shrinks, stopsAtFirst });
        done += answer.done;
        events += answer.events;
        failures.push(...answer.failures);
        onProgress?.(done, failures);
      }
    };
    const wanted = Math.min(this.#threadCount, Math.ceil(count / PORTION));
    await Promise.all(Array.from({ length: wanted }, (_, index) => work(this.#thread(index))));
    return { done, events, failures: failures.toSorted((a, b) => a.seed - b.seed) };
  }

  async close(): Promise<void> {
    await Promise.all(this.#threads.splice(0).map((thread) => thread.close()));
  }

  #thread(index: number): SimThread {
    const known = this.#threads[index];
    const thread = known === undefined || known.isDead ? new SimThread(this.#mutant) : known;
    this.#threads[index] = thread;
    return thread;
  }
}
