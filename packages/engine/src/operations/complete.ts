import { DEFAULT_MACHINE, type AttemptStatus, type CompleteResult, type TaskRunExecutionResult } from "@torpor/contracts";
import { assertNever } from "@torpor/kernel";
import type { Refusal, WorkerRef } from "../api.ts";
import { decideCompletion, RetryConfig, type CompletionDecision } from "../domain/completion.ts";
import { friendly } from "../domain/ids.ts";
import { finalStatus } from "../domain/runErrors.ts";
import { nextStep } from "../domain/transitions.ts";
import type { Transaction } from "../sql/database.ts";
import { lockRun, type RunRow } from "../sql/runs.ts";
import { advance } from "./advance.ts";
import { idBody, notFound, now, refuse, type Core } from "./core.ts";
import { CANCEL_REASON, canceledError, finishRun, usageOf } from "./finish.ts";
import { applyFlushedMetadata } from "./metadata.ts";
import { wireResult } from "./wire.ts";

export type CompleteOutcome = { readonly kind: "completed"; readonly result: CompleteResult } | Refusal;

/** Ends an attempt with what its runner reports. A second report, or one from a runner that lost the run, is refused without effect (L8). */
export async function completeAttempt(
  core: Core,
  worker: WorkerRef,
  runId: string,
  snapshotId: string,
  completion: TaskRunExecutionResult,
  forceRequeue: boolean,
): Promise<CompleteOutcome> {
  const body = idBody("run", runId);
  // Metadata first, in transactions of their own: each changes one run, and what the task said of itself counts however it ended.
  await applyFlushedMetadata(core, body, completion);
  return core.db.transaction(async (tx) => {
    const run = await lockRun(tx, body);
    if (run === undefined) return notFound("run", runId);
    const refusal = whyNotComplete(run, idBody("snapshot", snapshotId), snapshotId);
    if (refusal !== undefined) return refusal;
    const result = await endAttempt(core, tx, run, completion, { forceRequeue, worker });
    return { kind: "completed", result };
  });
}

function whyNotComplete(run: RunRow, snapshot: string, snapshotId: string): Refusal | undefined {
  const id = friendly("run", run.id);
  if (run.execution_status === "FINISHED")
    return refuse("run_finished", `Cannot complete run ${id}: it has ended with status ${run.status}`);
  if (run.snapshot_id !== snapshot) {
    return refuse(
      "snapshot_mismatch",
      `Cannot complete run ${id}: ${snapshotId} is not its latest snapshot, that is ${friendly("snapshot", run.snapshot_id)}`,
    );
  }
  const isExecuting = run.execution_status === "PENDING_CANCEL" || nextStep(run.execution_status, "retryNow") !== undefined;
  return isExecuting
    ? undefined
    : refuse("snapshot_mismatch", `Cannot complete run ${id}: it is not executing, its execution status is ${run.execution_status}`);
}

interface EndOptions {
  readonly forceRequeue: boolean;
  readonly worker?: WorkerRef;
}

/** What a completion does to a locked run; stalls end attempts through it too. */
export async function endAttempt(
  core: Core,
  tx: Transaction,
  run: RunRow,
  completion: TaskRunExecutionResult,
  options: EndOptions,
): Promise<CompleteResult> {
  const config = RetryConfig.safeParse(run.retry_config ?? {});
  const decision = decideCompletion(
    completion,
    {
      attemptNumber: run.attempt_number,
      maxAttempts: run.max_attempts,
      machine: run.machine ?? DEFAULT_MACHINE,
      retryConfig: config.success ? config.data : {},
      isCanceling: run.execution_status === "PENDING_CANCEL",
      forceRequeue: options.forceRequeue,
    },
    core.settings.completion,
    () => core.random.unit(),
  );
  const { run: ended, attemptStatus } = await carryOut(core, tx, run, completion, decision, options);
  return { attemptStatus, ...wireResult(ended) };
}

async function carryOut(
  core: Core,
  tx: Transaction,
  run: RunRow,
  completion: TaskRunExecutionResult,
  decision: CompletionDecision,
  options: EndOptions,
): Promise<{ run: RunRow; attemptStatus: AttemptStatus }> {
  const at = now(core);
  const usageMs = usageOf(completion);
  const common = { at, ...(options.worker === undefined ? {} : { worker: options.worker }), ...(usageMs === undefined ? {} : { usageMs }) };
  switch (decision.kind) {
    case "succeed": {
      const output = completion.ok ? { value: completion.output, type: completion.outputType } : undefined;
      const ended = await finishRun(core, tx, run, {
        ...common,
        description: "Completed",
        status: "COMPLETED_SUCCESSFULLY",
        ...(output === undefined ? {} : { output }),
      });
      return { run: ended, attemptStatus: "RUN_FINISHED" };
    }
    case "cancel": {
      const ended = await finishRun(core, tx, run, {
        ...common,
        description: "Canceled",
        status: "CANCELED",
        error: canceledError(CANCEL_REASON),
      });
      return { run: ended, attemptStatus: "RUN_FINISHED" };
    }
    case "fail": {
      const status = finalStatus(decision.error, run.environment_type);
      const ended = await finishRun(core, tx, run, { ...common, description: describe("Failed", decision), status, error: decision.error });
      return { run: ended, attemptStatus: "RUN_FINISHED" };
    }
    case "retryNow":
    case "retryLater":
      return retry(core, tx, run, decision, at, usageMs ?? 0);
    default:
      return assertNever(decision);
  }
}

/** The attempt's number stays until the next one starts. */
async function retry(
  core: Core,
  tx: Transaction,
  run: RunRow,
  decision: Extract<CompletionDecision, { kind: "retryNow" | "retryLater" }>,
  at: Date,
  usageMs: number,
): Promise<{ run: RunRow; attemptStatus: AttemptStatus }> {
  const duration_ms = run.duration_ms + usageMs;
  if (decision.kind === "retryNow") {
    const waiting = advance(core, tx, run, "retryNow", {
      at,
      description: describe(`Attempt ${run.attempt_number} failed, next one on the same runner`, decision),
      patch: { retry_ready: true, duration_ms },
    });
    return { run: waiting, attemptStatus: "RETRY_IMMEDIATELY" };
  }
  const machine = decision.machine === undefined ? {} : { machine: decision.machine };
  const queued = advance(core, tx, run, "retryLater", {
    at,
    description: describe(
      `Attempt ${run.attempt_number} failed, queued again${decision.machine === undefined ? "" : ` for ${decision.machine}`}`,
      decision,
    ),
    score: new Date(at.getTime() + decision.delayMs),
    patch: { duration_ms, ...machine },
  });
  return { run: queued, attemptStatus: "RETRY_QUEUED" };
}

function describe(what: string, decision: Extract<CompletionDecision, { error: unknown }>): string {
  const { error } = decision;
  const why =
    error.type === "INTERNAL_ERROR" ? error.code : error.type === "BUILT_IN_ERROR" ? `${error.name}: ${error.message}` : error.raw;
  return `${what}: ${why}`.slice(0, 300);
}
