import { sleep, systemClock } from "@torpor/kernel";
import { expect } from "vitest";
import type { Scene } from "./scene.ts";
import type { HeldRun } from "./worker.ts";

const AT_ONCE = 10;

/** Runs the race for each run, a few at once. */
export async function race(runs: readonly HeldRun[], oneRun: (held: HeldRun, round: number) => Promise<void>): Promise<void> {
  for (let from = 0; from < runs.length; from += AT_ONCE) {
    await Promise.all(runs.slice(from, from + AT_ONCE).map((held, index) => oneRun(held, from + index)));
  }
}

/** Both at once, the one or the other a little later: `b` by up to 2 ms, `a` by up to `slowMs`. */
export async function both<A, B>(round: number, a: () => Promise<A>, b: () => Promise<B>, slowMs = 2): Promise<[A, B]> {
  const place = (round % 10) - 4;
  const shiftMs = place <= 0 ? -place * 0.5 : (-place / 5) * slowMs;
  return Promise.all([later(-shiftMs, a), later(shiftMs, b)]);
}

async function later<T>(delayMs: number, call: () => Promise<T>): Promise<T> {
  if (delayMs >= 1) await sleep(systemClock, delayMs);
  else if (delayMs > 0) await new Promise<void>((resolve) => setImmediate(resolve));
  return call();
}

export async function executingRuns(scene: Scene, count: number, taskId = "work"): Promise<HeldRun[]> {
  await Promise.all(Array.from({ length: count }, () => scene.trigger(taskId)));
  const taken = await scene.worker.takeAll(count);
  await Promise.all(taken.map((held) => held.start()));
  expect(taken).toHaveLength(count);
  return taken;
}

export async function waitingRuns(
  scene: Scene,
  count: number,
): Promise<{ readonly runs: HeldRun[]; readonly tokenOf: Map<string, string> }> {
  const runs = await executingRuns(scene, count);
  const tokenOf = new Map<string, string>();
  await Promise.all(runs.map(async (held) => tokenOf.set(held.runId, await scene.waitForNewToken(held))));
  return { runs, tokenOf };
}
