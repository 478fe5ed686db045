import type { Log, Metrics } from "@torpor/observe";
import type { Timeline } from "../platform/timeline.ts";
import type { IntentKey } from "./intent.ts";

export type SnapshotEvent =
  | "snapshot.scheduled"
  | "snapshot.not_worth_it"
  | "snapshot.hastened"
  | "snapshot.replaced"
  | "snapshot.canceled"
  | "snapshot.dispatched"
  | "snapshot.frozen"
  | "snapshot.completed"
  | "snapshot.kept"
  | "snapshot.refused"
  | "snapshot.failed";

export interface SnapshotDetails {
  readonly reason: string;
  readonly durationMs?: number;
  readonly properties?: Readonly<Record<string, string | number | boolean>>;
}

/** Tells each step of an intent: one log line, one counter, one line in the run's timeline. */
export type TellSnapshot = (event: SnapshotEvent, about: IntentKey, details: SnapshotDetails) => void;

/** Joins the three places that hear of it. */
export function snapshotTeller(to: {
  readonly log: Log;
  readonly metrics: Metrics;
  readonly timeline: Pick<Timeline, "add">;
}): TellSnapshot {
  return (event, about, details) => {
    const { runId, runnerId, snapshotId } = about;
    const { reason, durationMs, properties } = details;
    to.metrics.count("torpor_snapshot_events_total", { event: event.slice("snapshot.".length), reason });
    if (durationMs !== undefined)
      to.metrics.observeMs("torpor_snapshot_step_seconds", durationMs, { event: event.slice("snapshot.".length) });
    to.log.info({ event, runId, runnerId, snapshotId, reason, durationMs, ...properties }, event);
    to.timeline.add(runId, {
      name: event,
      reason,
      runnerId,
      snapshotId,
      ...(durationMs === undefined ? {} : { durationMs }),
      ...(properties === undefined ? {} : { properties: { ...properties } }),
    });
  };
}
