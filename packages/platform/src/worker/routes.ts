import { TorporError, workerActions } from "@torpor/contracts";
import type { EngineForWorkers } from "@torpor/engine";
import type { Mounted } from "@torpor/http";
import type { Log } from "@torpor/observe";
import { mount, type WorkerCaller } from "../auth/callers.ts";
import { given } from "../given.ts";
import { accepted, found, isRefusal, refusalError } from "../refusal.ts";
import type { TaskEnvironment } from "./taskEnvironment.ts";

export interface WorkerDeps {
  readonly engine: EngineForWorkers;
  readonly taskEnvironment: TaskEnvironment;
  readonly dequeueWaitMs: number;
  /** Fires when this process is going: whoever waits for a run is answered with none, and asks elsewhere. */
  readonly draining: AbortSignal;
  readonly log: Log;
}

export function workerRoutes(deps: WorkerDeps): Mounted[] {
  return [
    ...instanceRoutes(deps),
    ...dequeueRoutes(deps),
    ...attemptRoutes(deps),
    ...snapshotRoutes(deps),
    ...outcomeRoutes(deps),
    ...nodeRoutes(deps),
  ];
}

function instanceRoutes({ engine }: WorkerDeps): Mounted[] {
  const ok = { ok: true as const };
  return [
    mount(workerActions.connect, async ({ body, caller }) => {
      await engine.touchInstance(caller.ref, body.metadata);
      return { ...ok, workerGroup: { type: caller.group.type, name: caller.group.name } };
    }),
    mount(workerActions.heartbeat, async ({ body, caller }) => {
      await engine.touchInstance(caller.ref, { cpu: body.cpu, memory: body.memory });
      return ok;
    }),
    mount(workerActions.runHeartbeat, async ({ params, caller }) => {
      accepted(await engine.heartbeat(caller.ref, params.runId, params.snapshotId));
      return ok;
    }),
  ];
}

function dequeueRoutes({ engine, dequeueWaitMs, draining, log }: WorkerDeps): Mounted[] {
  return [
    mount(workerActions.dequeue, async ({ body, caller, signal }) => {
      const messages = await engine.dequeue(caller.ref, {
        waitMs: dequeueWaitMs,
        signal: AbortSignal.any([signal, draining]),
        ...given({ maxResources: body.maxResources }),
      });
      if (signal.aborted) await giveBack(messages, caller);
      return [...messages];
    }),
    mount(workerActions.dequeueDeployment, async () => []),
  ];

  /** Nobody reads the answer any more: without this the runs would wait for their time-out. */
  async function giveBack(messages: Awaited<ReturnType<typeof engine.dequeue>>, caller: WorkerCaller): Promise<void> {
    for (const { run, snapshot } of messages) {
      const outcome = await engine.release(caller.ref, run.friendlyId, snapshot.friendlyId, "supervisor went away while it was answered");
      log.info({ runId: run.friendlyId, outcome: outcome.kind }, "gave back a run that was handed to a connection that had ended");
    }
  }
}

function attemptRoutes({ engine, taskEnvironment }: WorkerDeps): Mounted[] {
  return [
    mount(workerActions.startAttempt, async ({ params, body, caller }) => {
      const started = accepted(
        await engine.startAttempt(caller.ref, params.runId, params.snapshotId, { isWarmStart: body.isWarmStart ?? false }),
      );
      return { ...started.result, envVars: await taskEnvironment.variables(started.result, started.environment) };
    }),
    mount(workerActions.completeAttempt, async ({ params, body, caller }) => {
      const outcome = await engine.completeAttempt(caller.ref, params.runId, params.snapshotId, body.completion, {
        forceRequeue: body.forceRequeue ?? false,
      });
      // 400, not 409: the runner repeats a 409, and a completion that came too late stays too late.
      if (isRefusal(outcome) && outcome.code === "snapshot_stale") throw new TorporError("snapshot_mismatch", outcome.message);
      return { result: accepted(outcome).result };
    }),
  ];
}

function snapshotRoutes({ engine }: WorkerDeps): Mounted[] {
  return [
    mount(workerActions.latestSnapshot, async ({ params, caller }) => ({
      execution: found(await engine.latestSnapshot(caller.ref, params.runId, caller.scope), "run", params.runId),
    })),
    mount(workerActions.snapshotsSince, async ({ params, caller }) => {
      const since = accepted(await engine.snapshotsSince(caller.ref, params.runId, params.snapshotId, caller.scope));
      return { snapshots: [...since.snapshots] };
    }),
    mount(workerActions.continueRun, async ({ params, caller }) => {
      const outcome = await engine.continueRun(caller.ref, params.runId, params.snapshotId);
      if (!isRefusal(outcome)) return outcome.result;
      // Supervisors know 422 as "this will stay so": another runner has continued, or there is nothing to continue.
      throw outcome.code === "not_found" ? refusalError(outcome) : new TorporError("request_unprocessable", outcome.message);
    }),
    mount(workerActions.completeSuspension, async ({ params, body, caller }) => {
      const outcome = await engine.completeSuspension(caller.ref, params.runId, params.snapshotId, body);
      if (isRefusal(outcome)) throw refusalError(outcome);
      if (outcome.kind === "accepted") return { ok: true as const, accepted: true, checkpointId: outcome.checkpointId };
      return { ok: true as const, accepted: false };
    }),
  ];
}

function outcomeRoutes({ engine }: WorkerDeps): Mounted[] {
  return [
    mount(workerActions.restoreOutcome, async ({ params, body, caller }) => {
      accepted(await engine.restoreOutcome(caller.ref, params.runId, params.snapshotId, body));
      return { ok: true as const };
    }),
    mount(workerActions.release, async ({ params, body, caller }) => {
      const { requeued } = accepted(await engine.release(caller.ref, params.runId, params.snapshotId, body.reason));
      return { ok: true as const, requeued };
    }),
  ];
}

function nodeRoutes({ engine, log }: WorkerDeps): Mounted[] {
  return [
    mount(workerActions.debugLog, async ({ params, body }) => {
      log.debug({ runId: params.runId, properties: body.properties }, body.message);
      return undefined;
    }),
    mount(workerActions.timeline, async ({ params, body, caller }) => {
      accepted(await engine.addTimeline(caller.ref, params.runId, body.events));
      return { ok: true as const };
    }),
    mount(workerActions.liveCheckpoints, async ({ body, caller }) => ({
      live: [...(await engine.liveCheckpoints(caller.ref, body.locations))],
    })),
  ];
}
