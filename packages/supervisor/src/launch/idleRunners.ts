import type { DequeuedMessage } from "@torpor/contracts";
import type { Runner } from "../runners/runner.ts";
import { isServedBy } from "../workload/warmCaller.ts";
import { roomOf } from "./plan.ts";

/** A runner that has ended its run forks the next worker, which loads for so long: 0.3 to 0.5 s on 2 CPUs. */
const WORKER_PREPARES_MS = 400;

type Idle = Pick<Runner, "serves" | "room" | "idleSinceMs">;

/** How long the runner that waits for such a run and is ready first still prepares its next worker, in milliseconds; null: none waits. Pure. */
export function warmReadyInMs(runners: Iterable<Idle>, message: DequeuedMessage, nowMs: number): number | null {
  const needs = roomOf(message);
  let since: number | null = null;
  for (const runner of runners) {
    const fits = isServedBy(runner, message) && runner.room.cpu === needs.cpu && runner.room.memoryGib === needs.memoryGib;
    if (fits && runner.idleSinceMs !== null) since = Math.min(since ?? runner.idleSinceMs, runner.idleSinceMs);
  }
  return since === null ? null : Math.max(0, WORKER_PREPARES_MS - (nowMs - since));
}
