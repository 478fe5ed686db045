// What a thread does when it is asked: run seeds, and tell what became of them.
import type { MessagePort } from "node:worker_threads";
import { explore, type Exploration } from "./exhaustive/explore.ts";
import { runScenario, runSeed, type Failure } from "./runSeed.ts";
import { generate } from "./scenario/generate.ts";
import type { ProfileName } from "./scenario/profiles.ts";

export type ThreadRequest =
  | {
      readonly kind: "seeds";
      readonly seeds: readonly number[];
      readonly profile: ProfileName;
      /** Makes what fails small. */
      readonly shrinks: boolean;
      readonly stopsAtFirst: boolean;
    }
  | { readonly kind: "hash"; readonly seed: number; readonly profile: ProfileName }
  | { readonly kind: "explore" };

export type ThreadAnswer =
  | { readonly kind: "seeds"; readonly done: number; readonly events: number; readonly failures: readonly Failure[] }
  | { readonly kind: "hash"; readonly hash: string; readonly entries: number }
  | { readonly kind: "explore"; readonly exploration: Exploration }
  | { readonly kind: "error"; readonly text: string };

/** Few frames: errors are part of the game, and their stacks are what costs. */
const STACK_FRAMES = 4;

export function serve(port: MessagePort): void {
  Error.stackTraceLimit = STACK_FRAMES;
  port.on("message", (request: ThreadRequest) => {
    answer(request).then(
      (reply) => port.postMessage(reply),
      (error: unknown) => port.postMessage({ kind: "error", text: error instanceof Error ? String(error.stack) : String(error) }),
    );
  });
}

async function answer(request: ThreadRequest): Promise<ThreadAnswer> {
  switch (request.kind) {
    case "seeds":
      return await runAll(request);
    case "hash": {
      const { history } = await runScenario(generate(request.seed, request.profile));
      return { kind: "hash", hash: history.hash(), entries: history.entries.length };
    }
    case "explore":
      return { kind: "explore", exploration: explore() };
  }
}

async function runAll({ seeds, profile, shrinks, stopsAtFirst }: ThreadRequest & { kind: "seeds" }): Promise<ThreadAnswer> {
  const failures: Failure[] = [];
  let done = 0;
  let events = 0;
  for (const seed of seeds) {
    const { failure, eventCount } = await runSeed(seed, profile, { shrinks });
    done++;
    events += eventCount;
    if (failure !== null) failures.push(failure);
    if (failure !== null && stopsAtFirst) break;
  }
  return { kind: "seeds", done, events, failures };
}
