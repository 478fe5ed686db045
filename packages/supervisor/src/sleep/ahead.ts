import { sleep, type Clock } from "@torpor/kernel";
import type { Gateway } from "../gateway/gateway.ts";
import { isAheadName } from "../launch/names.ts";
import type { Runner } from "../runners/runner.ts";

/** Tells once how long a wake took: until the sandbox runs for certain and its runner was heard. */
export function noteWoken(runner: Runner, clock: Clock, onWoke: (durationMs: number) => void): void {
  if (runner.wakeAskedMs !== null) onWoke(clock.monotonicMs() - runner.wakeAskedMs);
  runner.wakeAskedMs = null;
}

/** Until a runner that was made ready goes on, or it is time to answer its question with nothing new. */
export async function untilCalled(clock: Clock, runner: Runner, withinMs: number): Promise<"called" | "not_yet"> {
  if (runner.ahead === null) return "called";
  const answered = new AbortController();
  const late = sleep(clock, withinMs, answered.signal).then(() => "not_yet" as const);
  const result = await Promise.race([runner.ahead.called.then(() => "called" as const), late]);
  answered.abort();
  return result;
}

/** Whether a runner may tell the platform that it goes on: no memory image is reserved for it, from which it could come back (L6). */
export async function mayGoOn(gateway: Gateway, runner: Runner): Promise<boolean> {
  if (runner.ahead !== null) return false;
  const isJudged = !runner.adopted || runner.instanceId !== null; // made here, or looked at since
  if (isJudged || !isAheadName(runner.name)) return true;
  const instance = await gateway.instance(runner.name);
  return instance.kind === "ok" && instance.body.reservedImageId == null;
}
