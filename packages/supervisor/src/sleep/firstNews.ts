// A runner that was made ready ahead of time asks for news and waits. What it is to hear is one snapshot, the one that our `continue`
// has just made. We know it, and the waitpoints that it brings came with the hand-out: asking the platform for both would make it late.
import type { DequeuedMessage } from "@torpor/contracts";
import { sleep, type Clock } from "@torpor/kernel";
import { z } from "zod";
import type { FirstNews, Runner } from "../runners/runner.ts";

/** Later than this something else may have happened to the run, and the platform is asked. */
const FRESH_MS = 1_000;
/** The engine hands a run out some hundred ms before its end, and answers `continue` at it. */
const CALLED_WITHIN_MS = 2_000;

const Continued = z.looseObject({
  snapshot: z.looseObject({ friendlyId: z.string(), executionStatus: z.literal("EXECUTING") }),
  run: z.looseObject({}),
});

/** Remembers what the platform answered to `continue`. Batches carry more than the hand-out says of them: those are asked for. */
export function noteFirstNews(clock: Clock, runner: Runner, message: DequeuedMessage, answer: unknown): void {
  const continued = Continued.safeParse(answer).data;
  const { completedWaitpoints } = message;
  if (continued === undefined || completedWaitpoints.some(({ type }) => type !== "DATETIME" && type !== "MANUAL")) return;
  const body = { snapshots: [{ version: "1", ...continued, completedWaitpoints }] };
  runner.firstNews = { body, snapshotId: continued.snapshot.friendlyId, knownMs: clock.monotonicMs() };
}

/** What a runner that believes in this snapshot has not heard yet, once; undefined: the platform must be asked. */
export function takeFirstNews(clock: Clock, runner: Runner | null, snapshotId: string): FirstNews | undefined {
  const news = runner?.firstNews;
  if (runner === null || news == null) return undefined;
  runner.firstNews = null;
  return snapshotId < news.snapshotId && clock.monotonicMs() - news.knownMs < FRESH_MS ? news : undefined;
}

/**
 * The snapshot at which a runner ends its run. One that ends it while we continue it, because a limit of its own is over, has no memory
 * image to come back from any more: its word waits until the run is its own (L11), and counts when it was ready ahead of time.
 */
export async function whereItGoesOn(clock: Clock, runner: Runner | null, snapshotId: string): Promise<string> {
  const { ahead = null, continued = null } = runner ?? {};
  const isClaimed = ahead?.isClaimed === true && snapshotId >= ahead.sleptAt;
  const goesOn = isClaimed ? ahead.called : continued;
  if (goesOn !== null) await Promise.race([goesOn, sleep(clock, CALLED_WITHIN_MS)]);
  return (isClaimed ? takeFirstNews(clock, runner, snapshotId)?.snapshotId : undefined) ?? snapshotId;
}
