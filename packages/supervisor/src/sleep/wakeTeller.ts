// What a wake leaves behind: a line in the run's timeline that says by what and how it woke and how late, and figures.
import type { CompletedWaitpoint, DequeuedMessage } from "@torpor/contracts";
import type { Clock } from "@torpor/kernel";
import type { Metrics } from "@torpor/observe";
import type { Timeline } from "../platform/timeline.ts";
import type { Runner } from "../runners/runner.ts";

/**
 * How a sleeping run came back: made ready before its time, thawed where it stood, or restored from its files.
 */
export type WakeWay = "ahead" | "thawed" | "restored";

/** What ended the wait. */
export type WokenBy = "time" | "token" | "child" | "batch" | "several" | "nothing";

const BY: Readonly<Record<CompletedWaitpoint["type"], WokenBy>> = { DATETIME: "time", MANUAL: "token", RUN: "child", BATCH: "batch" };

/** What ended the wait, by what was waited for. `nothing`: a run that was put to sleep without a wait. */
export function wokenBy(waitpoints: readonly Pick<CompletedWaitpoint, "type">[]): WokenBy {
  const kinds = new Set(waitpoints.map(({ type }) => BY[type]));
  if (kinds.has("batch")) return "batch"; // its children come with it
  return kinds.size > 1 ? "several" : (kinds.values().next().value ?? "nothing");
}

export interface Woken {
  readonly message: DequeuedMessage;
  readonly runner: Runner;
  readonly way: WakeWay;
  /** Wall time at which the wait was to end; null when that was not known. */
  readonly endsAtMs: number | null;
}

export interface WakeTellerDeps {
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly timeline: Timeline;
}

/** Tells of a run that goes on now. */
export function tellWoken({ clock, metrics, timeline }: WakeTellerDeps, { message, runner, way, endsAtMs }: Woken): void {
  const by = wokenBy(message.completedWaitpoints);
  const endedMs = Math.max(...message.completedWaitpoints.map(({ completedAt }) => completedAt.getTime()));
  const sinceMs = by === "time" && endsAtMs !== null ? endsAtMs : Number.isFinite(endedMs) ? endedMs : message.snapshot.createdAt.getTime();
  const lateMs = Math.max(0, clock.nowMs() - sinceMs);
  metrics.observeMs("torpor_wake_lateness_seconds", lateMs, { by, way });
  metrics.count("torpor_wakes_total", { by, way });
  if (way === "ahead") metrics.count("torpor_early_wakes_total", { outcome: "used" });
  const readyMs = runner.ahead?.readyMs ?? null;
  timeline.add(message.run.friendlyId, {
    name: "wake.continued",
    reason: by,
    runnerId: runner.name,
    snapshotId: message.snapshot.friendlyId,
    properties: {
      way,
      lateMs: Math.round(lateMs),
      ...(readyMs === null ? {} : { readyAheadMs: Math.round(clock.monotonicMs() - readyMs) }),
    },
  });
}
