// The platform's API for nodes, and the little of its SDK's API that a task needs to wait, over the engine model.
import { route, RunParams, TorporError, workerActions, WORKER_HEADERS, type ExecutionResult } from "@torpor/contracts";
import { mounter, type Mounted } from "@torpor/http";
import { z } from "zod";
import type { EngineModel } from "./engine.ts";
import type { Actor, ModelRun } from "./modelRun.ts";

const mount = mounter<{ worker: null }>();
/** As long as a request for a run may wait. */
const DEQUEUE_WAIT_MS = 10_000;

/** What a task says when it begins to wait: one call for every kind. */
export const beginWait = route("POST", "/engine/v1/runs/:runId/wait", {
  auth: "none",
  params: RunParams,
  body: z.object({ attempt: z.number(), key: z.string(), for: z.enum(["time", "token"]), ms: z.number() }),
  reply: z.object({ waitpointId: z.string() }),
});

type Headers = Readonly<Record<string, string | string[] | undefined>>;

function actor(headers: Headers): Actor {
  const text = (name: string): string | undefined => (typeof headers[name] === "string" ? headers[name] : undefined);
  return { runnerId: text(WORKER_HEADERS.runnerId), node: text(WORKER_HEADERS.instanceName) ?? "" };
}

function result(run: ModelRun): ExecutionResult {
  const { snapshot, run: base } = run.latest;
  return { snapshot, run: base };
}

export function platformRoutes(engine: EngineModel): Mounted[] {
  return [...nodeRoutes(engine), ...runRoutes(engine), ...sleepRoutes(engine)];
}

function nodeRoutes(engine: EngineModel): Mounted[] {
  return [
    mount(workerActions.connect, async ({ headers }) => {
      engine.nodeHeard(actor(headers).node);
      return { ok: true as const, workerGroup: { type: "MANAGED", name: "sim" } };
    }),
    mount(workerActions.heartbeat, async ({ headers }) => {
      engine.nodeHeard(actor(headers).node);
      return { ok: true as const };
    }),
    mount(workerActions.dequeue, async ({ headers, signal }) => {
      const messages = await engine.dequeue(actor(headers), { waitMs: DEQUEUE_WAIT_MS, signal });
      const [message] = messages;
      if (message !== undefined)
        signal.addEventListener("abort", () => engine.undoHandOut(message.run.friendlyId, message.snapshot.friendlyId));
      return messages;
    }),
    mount(workerActions.timeline, async () => ({ ok: true as const })),
    mount(workerActions.debugLog, async () => undefined),
    mount(workerActions.liveCheckpoints, async ({ body }) => ({ live: engine.liveLocations(body.locations) })),
    mount(beginWait, async ({ params, body }) => ({ waitpointId: engine.block(params.runId, body.attempt, body.key, body) })),
  ];
}

function runRoutes(engine: EngineModel): Mounted[] {
  return [
    mount(workerActions.latestSnapshot, async ({ params }) => ({ execution: engine.run(params.runId).latest })),
    mount(workerActions.snapshotsSince, async ({ params }) => {
      const { history } = engine.run(params.runId);
      const at = history.findIndex(({ snapshot }) => snapshot.friendlyId === params.snapshotId);
      if (at === -1) throw new TorporError("not_found", `Cannot find snapshot ${params.snapshotId}`);
      const since = history.slice(at + 1);
      return { snapshots: since.map((one, index) => (index === since.length - 1 ? one : { ...one, completedWaitpoints: [] })) };
    }),
    mount(workerActions.runHeartbeat, async ({ params }) => {
      engine.heartbeat(params.runId, params.snapshotId);
      return { ok: true as const };
    }),
    mount(workerActions.startAttempt, async ({ params, headers }) => {
      const run = engine.start(params.runId, params.snapshotId, actor(headers));
      // The rest of a real answer is the runner's business, which is a model here; the supervisor passes it on unread.
      return { ...result(run), execution: { task: { id: "task" } }, envVars: {} } as never;
    }),
    mount(workerActions.completeAttempt, async ({ params, body, headers }) => {
      const { attemptStatus, run } = engine.complete(params.runId, params.snapshotId, body.completion, {
        forceRequeue: body.forceRequeue === true,
        by: actor(headers),
      });
      return { result: { attemptStatus, ...result(run) } as never };
    }),
  ];
}

function sleepRoutes(engine: EngineModel): Mounted[] {
  return [
    mount(workerActions.continueRun, async ({ params, headers }) => {
      await engine.untilOver(params.runId);
      return result(engine.continueRun(params.runId, params.snapshotId, actor(headers)));
    }),
    mount(workerActions.completeSuspension, async ({ params, body, headers }) => {
      if (!body.success) return { ok: true as const };
      const checkpointId = engine.suspend(params.runId, params.snapshotId, body.checkpoint.location, actor(headers));
      return checkpointId === null ? { ok: true as const, accepted: false } : { ok: true as const, accepted: true, checkpointId };
    }),
    mount(workerActions.restoreOutcome, async ({ params, body, headers }) => {
      engine.restoreOutcome(params.runId, params.snapshotId, body, actor(headers));
      return { ok: true as const };
    }),
    mount(workerActions.release, async ({ params, headers }) => ({
      ok: true as const,
      requeued: engine.release(params.runId, params.snapshotId, actor(headers)),
    })),
  ];
}
