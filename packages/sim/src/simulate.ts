import { availableParallelism } from "node:os";
import type { Mutant } from "./mutants/mutant.ts";
import { SimThread } from "./pool.ts";
import type { Failure } from "./runSeed.ts";
import type { ProfileName } from "./scenario/profiles.ts";

export interface SimulateOptions {
  readonly fromSeed: number;
  readonly count: number;
  readonly profile: ProfileName;
  readonly mutant?: Mutant | null;
  /** All cores by default. */
  readonly threads?: number;
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

/** Runs seeds on several threads. Which of them fail does not depend on how many there are. */
export async function simulate(options: SimulateOptions): Promise<SimulateResult> {
  const { fromSeed, count, profile, shrinks, stopsAtFirst, signal } = options;
  const failures: Failure[] = [];
  let next = fromSeed;
  let done = 0;
  let events = 0;
  const isOver = (): boolean => next >= fromSeed + count || signal?.aborted === true || (stopsAtFirst && failures.length > 0);
  const work = async (): Promise<void> => {
    const thread = new SimThread(options.mutant ?? null);
    try {
      while (!isOver()) {
        const seeds = Array.from({ length: Math.min(PORTION, fromSeed + count - next) }, (_, index) => next + index);
        next += seeds.length;
        const answer = await thread.ask({ kind: "seeds", seeds, profile, shrinks, stopsAtFirst });
        done += answer.done;
        events += answer.events;
        failures.push(...answer.failures);
        options.onProgress?.(done, failures);
      }
    } finally {
      await thread.close();
    }
  };
  const threads = Math.min(options.threads ?? availableParallelism(), Math.ceil(count / PORTION));
  await Promise.all(Array.from({ length: threads }, work));
  return { done, events, failures: failures.toSorted((a, b) => a.seed - b.seed) };
}
