// Restores a sleeping run ahead of its time, with its memory image reserved: its runner idles until it is called.
import type { Clock } from "@torpor/kernel";
import type { Metrics } from "@torpor/observe";
import type { Gateway } from "../gateway/gateway.ts";
import type { Platform } from "../platform/platform.ts";
import { wholeMs, type Timeline } from "../platform/timeline.ts";
import type { Runner } from "../runners/runner.ts";
import type { Runners } from "../runners/runners.ts";
import { judgeAcceptance } from "../snapshot/verdict.ts";
import { noteWoken } from "./ahead.ts";
import type { AsleepRun } from "./asleepRun.ts";
import type { NodeCosts } from "./nodeCosts.ts";

export interface MakeReadyDeps {
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly gateway: Gateway;
  readonly platform: Platform;
  readonly runners: Runners;
  readonly costs: NodeCosts;
  readonly timeline: Timeline;
  /** What the sandbox reads about itself. */
  readonly metadataOf: (name: string, run: AsleepRun) => Record<string, string>;
  /** Removes a runner and its sandbox. */
  readonly retire: (runner: Runner) => Promise<void>;
}

/** The runner, when it runs. Null: it is not wanted any more, or could not be started, and nothing of it is left. */
export async function makeReady(deps: MakeReadyDeps, name: string, run: AsleepRun): Promise<Runner | null> {
  const { gateway, metrics, runners, clock, costs } = deps;
  const startedMs = clock.monotonicMs();
  if (!(await sleepsStill(deps, run))) return null;
  const runner = expectRunner(deps, name, run);
  const restored = await gateway.restore(run.imageId, {
    name,
    metadata: deps.metadataOf(name, run),
    cpu: run.room.cpu,
    memory_gb: run.room.memoryGib,
    extensions: ["reserve"],
  });
  if (runners.get(name) !== runner) return null; // it has exited already
  if (restored.kind !== "ok") {
    metrics.count("torpor_early_wakes_total", { outcome: "not_started" });
    await deps.retire(runner); // it may have started all the same
    return null;
  }
  runners.located(runner, { instanceId: restored.body.id, address: restored.body.address ?? null });
  runner.phase = "running";
  if (runner.heardMs > runner.createdMs) noteWoken(runner, clock, (wokeMs) => costs.woke(wokeMs));
  if (runner.ahead !== null) runner.ahead.readyMs = clock.monotonicMs();
  const durationMs = clock.monotonicMs() - startedMs;
  // Not as the line's runner: the run is not its own yet
  const properties = { runnerId: name, ...wholeMs(restored.body._timing) };
  deps.timeline.add(run.runId, { name: "wake.ready", reason: "known_end", durationMs, snapshotId: run.snapshotId, properties });
  return runner;
}

/** It may have been cancelled, or have woken elsewhere, and nobody here was told. */
async function sleepsStill({ platform, metrics }: MakeReadyDeps, { runId, imageId }: AsleepRun): Promise<boolean> {
  const latest = await platform.latest(runId);
  if (latest.kind === "ok" && judgeAcceptance(latest.body, imageId) === "yes") return true;
  metrics.count("torpor_early_wakes_total", { outcome: latest.kind === "ok" ? "moved_on" : "not_asked" });
  return false;
}

function expectRunner({ runners, clock }: MakeReadyDeps, name: string, run: AsleepRun): Runner {
  const { room, attemptNumber, serves } = run;
  const lineage = run.lineage.filter((alias) => alias !== name);
  const runner = runners.add({ name, room, lineage, restoredAt: null, adopted: false, attemptNumber, serves });
  runner.phase = "starting";
  runner.taskId = run.taskId;
  const { promise, resolve } = Promise.withResolvers<void>();
  runner.ahead = { called: promise, call: resolve, hasLeft: false, isClaimed: false, sleptAt: run.snapshotId, readyMs: null };
  runner.wakeAskedMs = clock.monotonicMs();
  runners.take(runner, run.runId);
  return runner;
}
