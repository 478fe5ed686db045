import type { CheckpointInput, ExecutionResult, RestoreOutcomeBody } from "@torpor/contracts";
import { sleep } from "@torpor/kernel";
import type { Refusal, SuspensionOutcome, WorkerRef } from "../api.ts";
import { friendly, newId } from "../domain/ids.ts";
import { MEMORY_IMAGE_ELSEWHERE, nodeOf } from "../domain/nodes.ts";
import { decideGiveBack } from "../domain/queueing.ts";
import { nextStep } from "../domain/transitions.ts";
import { insertCheckpoint } from "../sql/checkpoints.ts";
import { endOfWait } from "../sql/completed.ts";
import type { Transaction } from "../sql/database.ts";
import { lockRun, runExists, type RunRow } from "../sql/runs.ts";
import { addRunEvents } from "../sql/timeline.ts";
import { advance } from "./advance.ts";
import { idBody, notFound, now, refuse, type Core } from "./core.ts";
import { imageIsElsewhere } from "./elsewhere.ts";
import { finishRun } from "./finish.ts";
import { wakeInTime } from "./resume.ts";
import { internalError } from "../domain/runErrors.ts";

type SuspensionResult =
  | { readonly success: true; readonly checkpoint: CheckpointInput }
  | { readonly success: false; readonly error: string };

/** Decides what a memory image is worth: the run sleeps from here on, or it has moved on and the image is of no use. */
export async function completeSuspension(
  core: Core,
  worker: WorkerRef,
  runId: string,
  snapshotId: string,
  result: SuspensionResult,
): Promise<SuspensionOutcome> {
  const body = idBody("run", runId);
  if (!result.success) {
    if (!(await runExists(core.db, body))) return notFound("run", runId);
    await addRunEvents(
      core.db,
      body,
      [
        {
          name: "snapshot.failed",
          at: now(core),
          reason: result.error.slice(0, 256),
          ...(worker.runnerId === undefined ? {} : { runnerId: worker.runnerId }),
          snapshotId,
        },
      ],
      core.settings.timelineLinesPerRun,
    );
    return { kind: "noted" };
  }
  return core.db.transaction(async (tx) => {
    const run = await lockRun(tx, body);
    if (run === undefined) return notFound("run", runId);
    const snapshot = idBody("snapshot", snapshotId);
    if (run.snapshot_id !== snapshot)
      return { kind: "discarded", reason: `${snapshotId} is not the latest snapshot, that is ${friendly("snapshot", run.snapshot_id)}` };
    if (nextStep(run.execution_status, "suspend") === undefined)
      return { kind: "discarded", reason: `the execution status is ${run.execution_status}` };
    const at = now(core);
    const checkpointId = newId(at.getTime(), core.random);
    // Images of compute gateways lie on their node; the other kinds are in a registry that every node reaches.
    const node = result.checkpoint.type === "COMPUTE" ? nodeOf(worker) : null;
    await insertCheckpoint(tx, { ...result.checkpoint, id: checkpointId, runId: run.id, node, at });
    advance(core, tx, run, "suspend", { at, description: "Asleep", checkpointId, worker });
    await wakeInTime(core, tx, run.id);
    return { kind: "accepted", checkpointId: friendly("checkpoint", checkpointId) };
  });
}

export type ContinueOutcome = { readonly kind: "continued"; readonly result: ExecutionResult } | Refusal;

/**
 * A restored runner goes on: the attempt stays, its memory image is consumed (L6). A run that was handed out ahead of the end of its
 * wait goes on at that end, however soon this is asked for.
 */
export async function continueRun(
  core: Core,
  worker: WorkerRef,
  runId: string,
  snapshotId: string,
  toWire: (run: RunRow) => ExecutionResult,
): Promise<ContinueOutcome> {
  await untilOver(core, idBody("run", runId));
  return core.db.transaction(async (tx) => {
    const run = await lockRun(tx, idBody("run", runId));
    if (run === undefined) return notFound("run", runId);
    if (run.snapshot_id !== idBody("snapshot", snapshotId)) {
      return refuse(
        "request_unprocessable",
        `Cannot continue run ${runId}: ${snapshotId} is not its latest snapshot, that is ${friendly("snapshot", run.snapshot_id)}`,
      );
    }
    if (nextStep(run.execution_status, "continue") === undefined)
      return refuse("request_unprocessable", `Cannot continue run ${runId}: its execution status is ${run.execution_status}`);
    if (run.checkpoint_id === null)
      return refuse("request_unprocessable", `Cannot continue run ${runId}: it has no checkpoint and must be started`);
    const continued = advance(core, tx, run, "continue", { at: now(core), description: "Awake", worker, patch: { nack_count: 0 } });
    return { kind: "continued", result: toWire(continued) };
  });
}

/** Should clocks disagree, nobody is kept waiting much longer than a run is handed out ahead of time. */
async function untilOver(core: Core, runId: string): Promise<void> {
  const { clock, settings } = core;
  const endsAtMs = (await endOfWait(core.db, runId))?.getTime() ?? 0;
  const longestMs = clock.monotonicMs() + 2 * settings.handOutAheadMs;
  // Again and again: a timer may fire a little before its time, and a task never goes on before the end of its wait
  while (endsAtMs > clock.nowMs() && clock.monotonicMs() < longestMs) await sleep(clock, endsAtMs - clock.nowMs());
}

/** Gives back a run that was handed out and never started. It keeps its sleep, and its place in the queue the first time. */
export async function release(
  core: Core,
  worker: WorkerRef,
  runId: string,
  snapshotId: string,
  reason: string,
): Promise<{ readonly kind: "released"; readonly requeued: boolean } | Refusal> {
  return core.db.transaction(async (tx) => {
    const run = await lockHandedOut(tx, runId, snapshotId, "release");
    if ("kind" in run) return run;
    return { kind: "released", requeued: await giveBack(core, tx, run, `Given back: ${reason}`, worker) };
  });
}

/**
 * What a failed restore means.
 * - requeue: the node could not, another may: back to the queue with the checkpoint, on the budget of hand-outs. That its memory
 *   image is elsewhere costs no hand-out while the node that has it is there, and is as fail when that one is lost.
 * - fail: the memory image was refused (corrupt, of another machine): the attempt is started over without it, if attempts
 *   are left; the reason stands in the timeline and, if none is left, in the run's error (L11).
 * - fallback: it is to begin afresh. A run that has not begun goes back to the queue; one that slept is started over, as
 *   with fail.
 */
export async function restoreOutcome(
  core: Core,
  worker: WorkerRef,
  runId: string,
  snapshotId: string,
  outcome: RestoreOutcomeBody,
): Promise<{ readonly kind: "noted" } | Refusal> {
  return core.db.transaction(async (tx) => {
    const run = await lockHandedOut(tx, runId, snapshotId, "report the restore of");
    if ("kind" in run) return run;
    const why = outcome.message === undefined ? outcome.reason : `${outcome.reason}: ${outcome.message}`;
    const hasSlept = run.checkpoint_id !== null;
    if (outcome.outcome === "requeue" && outcome.reason === MEMORY_IMAGE_ELSEWHERE && hasSlept) await lookElsewhere(core, tx, run, worker);
    else if (outcome.outcome !== "requeue" && hasSlept) await startOver(core, tx, run, why, worker);
    else await giveBack(core, tx, run, `Not restored: ${outcome.reason}`, worker);
    return { kind: "noted" };
  });
}

async function lookElsewhere(core: Core, tx: Transaction, run: RunRow, worker: WorkerRef): Promise<void> {
  const decision = await imageIsElsewhere(core, tx, run, worker);
  if (decision.kind === "startOver") return await startOver(core, tx, run, decision.why, worker);
  const description = `Not restored: ${MEMORY_IMAGE_ELSEWHERE}`;
  if (decision.kind === "waitForHome") advance(core, tx, run, "giveBack", { at: now(core), description, worker });
  else await giveBack(core, tx, run, description, worker);
}

async function lockHandedOut(tx: Transaction, runId: string, snapshotId: string, verb: string): Promise<RunRow | Refusal> {
  const run = await lockRun(tx, idBody("run", runId));
  if (run === undefined) return notFound("run", runId);
  if (run.snapshot_id !== idBody("snapshot", snapshotId)) {
    return refuse(
      "snapshot_stale",
      `Cannot ${verb} run ${runId}: ${snapshotId} is not its latest snapshot, that is ${friendly("snapshot", run.snapshot_id)}`,
    );
  }
  if (run.execution_status !== "PENDING_EXECUTING")
    return refuse("snapshot_stale", `Cannot ${verb} run ${runId}: its execution status is ${run.execution_status}`);
  return run;
}

/** Back to the queue as it was; false when its budget of hand-outs is spent and it has failed. Stalls end here too. */
export async function giveBack(core: Core, tx: Transaction, run: RunRow, description: string, worker?: WorkerRef): Promise<boolean> {
  const at = now(core);
  const times = run.nack_count + 1;
  const decision = decideGiveBack(times, core.settings.giveBack);
  const by = worker === undefined ? {} : { worker };
  if (decision.kind === "giveUp") {
    const error = internalError(
      "TASK_RUN_DEQUEUED_MAX_RETRIES",
      `The run was handed out ${times} times and never started. The last time: ${description}`,
    );
    await finishRun(core, tx, run, { at, description: "Never started", status: "SYSTEM_FAILURE", error, ...by });
    return false;
  }
  const score = decision.delayMs === 0 ? run.score : new Date(at.getTime() + decision.delayMs);
  advance(core, tx, run, "giveBack", { at, description, score, patch: { nack_count: times }, ...by });
  return true;
}

/** A hand-out that its taker never heard of (he left): as if it had not been. */
export async function undoHandOut(core: Core, worker: WorkerRef, runId: string, snapshotId: string): Promise<void> {
  await core.db.transaction(async (tx) => {
    const run = await lockHandedOut(tx, runId, snapshotId, "take back");
    if (!("kind" in run))
      advance(core, tx, run, "giveBack", { at: now(core), description: "Given back: the node left before it had it", worker });
  });
}

/** The attempt that slept is lost; the next one begins from the start, if there is one. */
async function startOver(core: Core, tx: Transaction, run: RunRow, why: string, worker: WorkerRef): Promise<void> {
  const at = now(core);
  const hasAttemptsLeft =
    run.max_attempts !== null && run.attempt_number < Math.min(run.max_attempts, core.settings.completion.maxAttempts);
  if (hasAttemptsLeft) {
    advance(core, tx, run, "startOver", { at, description: `Started over, its memory image was refused: ${why}`.slice(0, 300), worker });
    return;
  }
  const error = internalError("TASK_EXECUTION_ABORTED", `The memory image of the run was refused, and no attempts are left: ${why}`);
  await finishRun(core, tx, run, {
    at,
    description: `Failed, its memory image was refused: ${why}`.slice(0, 300),
    status: "SYSTEM_FAILURE",
    error,
    worker,
  });
}
