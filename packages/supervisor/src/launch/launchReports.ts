// What is said of a run that was handed to this node: on its timeline, in the metrics, and to the platform if it could not be placed.
import type { DequeuedMessage, TimelineEvent } from "@torpor/contracts";
import type { Clock } from "@torpor/kernel";
import { withRetries, type CallOutcome } from "@torpor/http";
import type { Log, Metrics } from "@torpor/observe";
import { isMissingRoute, isPassing, type Platform } from "../platform/platform.ts";
import type { Timeline } from "../platform/timeline.ts";
import type { RestoreResult } from "./restorer.ts";

const REPORT_ATTEMPTS = 8;

/** How a run came to its runner, as its timeline says it and as metrics do. */
const PLACED_KINDS = { "launch.warm": "warm", "launch.cloned": "clone", "launch.created": "cold", "launch.restored": "restore" } as const;
type PlacedEvent = keyof typeof PLACED_KINDS;
type Told = Pick<TimelineEvent, "reason" | "properties">;

export interface LaunchReportsDeps {
  readonly platform: Platform;
  readonly timeline: Timeline;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly stop: AbortSignal;
}

export class LaunchReports {
  readonly #deps: LaunchReportsDeps;

  constructor(deps: LaunchReportsDeps) {
    this.#deps = deps;
  }

  /** Its runner has it. */
  placed(name: PlacedEvent, message: DequeuedMessage, runnerId: string | undefined, tookMs: number, more: Told = {}): void {
    const { metrics, timeline, log } = this.#deps;
    const kind = PLACED_KINDS[name];
    metrics.count("torpor_launches_total", { kind, outcome: "placed" });
    metrics.observeMs("torpor_launch_seconds", tookMs, { kind });
    log.info({ runId: message.run.friendlyId, runnerId, durationMs: Math.round(tookMs) }, name);
    const by = runnerId === undefined ? {} : { runnerId };
    timeline.add(message.run.friendlyId, { name, durationMs: tookMs, ...by, ...more, snapshotId: message.snapshot.friendlyId });
  }

  /** It has no runner here: the platform puts it elsewhere at once, not after a stall (L11). */
  async givenBack(message: DequeuedMessage, reason: string, text?: string): Promise<void> {
    const { metrics, log, timeline, platform } = this.#deps;
    const runId = message.run.friendlyId;
    metrics.count("torpor_launches_total", { kind: "give_back", outcome: reason });
    log.warn({ runId, reason, error: text }, "a run is given back");
    timeline.add(runId, { name: "launch.given_back", reason, snapshotId: message.snapshot.friendlyId });
    const isAsleep = message.checkpoint !== undefined;
    await this.#report(message, () =>
      isAsleep ? platform.restoreOutcome(at(message), { outcome: "requeue", reason }) : platform.release(at(message), reason),
    );
  }

  /** Its memory did not come back. A run that has moved on meanwhile needs nothing. */
  async notRestored(message: DequeuedMessage, result: Exclude<RestoreResult, { kind: "restored" }>): Promise<void> {
    const { metrics, log, timeline, platform } = this.#deps;
    const runId = message.run.friendlyId;
    metrics.count("torpor_launches_total", { kind: "restore", outcome: result.reason });
    log.warn({ runId, ...result }, "a run was not restored");
    timeline.add(runId, { name: "launch.restore_failed", reason: result.reason, snapshotId: message.snapshot.friendlyId });
    if (result.kind === "moved_on") return;
    const { outcome, reason, message: text } = result;
    await this.#report(message, () => platform.restoreOutcome(at(message), { outcome, reason, message: text }));
  }

  /** Says it until it is heard. A platform of old has no such route: its own time-out must do. */
  async #report(message: DequeuedMessage, call: () => Promise<CallOutcome<unknown>>): Promise<void> {
    const { clock, random, stop, log } = this.#deps;
    const runId = message.run.friendlyId;
    const outcome = await withRetries(
      { attempts: REPORT_ATTEMPTS, baseMs: 250, maxMs: 5_000, clock, random, signal: stop, retryable: isPassing },
      call,
    );
    if (outcome.kind === "ok") return;
    if (isMissingRoute(outcome))
      log.info({ runId }, "the platform takes no report of a run that could not be placed; it will find out by its own time-out");
    else log.warn({ runId, error: outcome.message }, "the platform did not take the report of a run that could not be placed");
  }
}

function at(message: DequeuedMessage): { runId: string; snapshotId: string } {
  return { runId: message.run.friendlyId, snapshotId: message.snapshot.friendlyId };
}
