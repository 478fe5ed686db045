import type { TimelineLineView } from "@torpor/contracts";

/** What one sleep of a run cost. */
export interface Sleep {
  /** From the accepted suspension to the end of the wait. */
  readonly asleepMs: number;
  /** How long the sandbox stood still until its memory was on disk. */
  readonly freezeMs: number | undefined;
  readonly sizeBytes: number | undefined;
  /** When the wait ended, in milliseconds since the epoch: the engine queued the run again, or the time came that was waited for. */
  readonly waitEndedAtMs: number;
}

/** The sleeps of a run, from its timeline. A run that was cancelled asleep has a last sleep that ends with the cancellation. */
export function sleepsOf(timeline: readonly TimelineLineView[]): Sleep[] {
  const sleeps: Sleep[] = [];
  let frozen: TimelineLineView | undefined;
  let suspendedAtMs: number | undefined;
  let untilMs = 0;
  for (const event of timeline) {
    if (event.source === "node" && event.name === "snapshot.frozen") frozen = event;
    if (event.source !== "engine") continue;
    if (event.name === "EXECUTING_WITH_WAITPOINTS") untilMs = timeIn(event.reason);
    if (event.name === "SUSPENDED") suspendedAtMs = event.at.getTime();
    else if (suspendedAtMs !== undefined) {
      sleeps.push({
        asleepMs: event.at.getTime() - suspendedAtMs,
        freezeMs: frozen?.durationMs,
        sizeBytes: bytesOf(frozen),
        // a run whose end is known is queued a moment ahead of it
        waitEndedAtMs: event.name === "QUEUED" ? Math.max(event.at.getTime(), untilMs) : event.at.getTime(),
      });
      suspendedAtMs = undefined;
      frozen = undefined;
    }
  }
  return sleeps;
}

/** The time that a wait is said to last until; 0 when it is for something else. */
function timeIn(reason: string | undefined): number {
  const until = /Waits until (\S+)/.exec(reason ?? "")?.[1];
  return until === undefined ? 0 : Date.parse(until);
}

function bytesOf(event: TimelineLineView | undefined): number | undefined {
  const value = event?.properties?.["sizeBytes"];
  return typeof value === "number" ? value : undefined;
}

/** How a node says that a run came to its runner. */
const STARTS: Readonly<Record<string, string>> = { "launch.warm": "warm", "launch.cloned": "clone", "launch.created": "cold" };

/** How each attempt of a run started, from its timeline: in a runner that waited, in a clone, or in a sandbox that was booted for it. */
export function startsOf(timeline: readonly TimelineLineView[]): string[] {
  return timeline.flatMap(({ source, name }) => (source === "node" && STARTS[name] !== undefined ? [STARTS[name]] : []));
}

/** The runner that executes a run, or did so last: a sandbox takes other runs after the one that it was made for. */
export function runnerOf(timeline: readonly TimelineLineView[]): string | undefined {
  return timeline.findLast(({ runnerId }) => runnerId !== undefined)?.runnerId;
}

/** From the end of the last wait to the task's next line, which the task itself noted in its output. */
export function wakeMs(sleeps: readonly Sleep[], output: unknown): number | undefined {
  const last = sleeps.at(-1);
  const wokeAtMs = typeof output === "object" && output !== null && "wokeAtMs" in output ? output.wokeAtMs : undefined;
  return last === undefined || typeof wokeAtMs !== "number" ? undefined : wokeAtMs - last.waitEndedAtMs;
}
