import type {
  CompleteResult,
  DequeuedMessage,
  ExecutionResult,
  RestoreOutcomeBody,
  RunExecutionData,
  StartResult,
  TaskRunError,
  TaskRunExecutionResult,
} from "@torpor/contracts";
import { ManualClock, type Clock } from "@torpor/kernel";
import { expect } from "vitest";
import type { Engine, Refusal, SuspensionOutcome, WorkerRef } from "../src/api.ts";
import { until } from "./until.ts";

// A node without sandboxes: it takes runs and says about them what a supervisor and its runners would say.

export class Worker {
  readonly engine: Engine;
  readonly clock: Clock;
  readonly ref: WorkerRef;

  constructor(engine: Engine, clock: Clock, ref: WorkerRef) {
    this.engine = engine;
    this.clock = clock;
    this.ref = ref;
  }

  /** Takes what is ready now; undefined when nothing is. */
  async tryTake(): Promise<HeldRun | undefined> {
    const [message, ...more] = await this.answered(this.wait(0), 0);
    expect(more, "a node is handed one run at a time").toEqual([]);
    return message === undefined ? undefined : new HeldRun(this, message);
  }

  /** Waits for a run as nodes do. */
  wait(waitMs = 3_600_000, signal = new AbortController().signal): Promise<readonly DequeuedMessage[]> {
    return this.engine.dequeue(this.ref, { waitMs, signal });
  }

  /** What was waited for; the clock moves meanwhile as far as the engine's own short delays need. */
  async answered(answer: Promise<readonly DequeuedMessage[]>, stepMs = 10): Promise<readonly DequeuedMessage[]> {
    let messages: readonly DequeuedMessage[] | undefined;
    void answer.then(
      (value) => (messages = value),
      () => {},
    );
    // A wait of no time ends by the clock too: one that stands still must be asked what is due.
    if (this.clock instanceof ManualClock)
      await until(this.clock, "the node is answered", () => messages !== undefined, { stepMs, pollMs: 1 });
    return answer;
  }

  /** Takes the run that must be ready now. */
  async take(): Promise<HeldRun> {
    const held = await this.tryTake();
    if (held === undefined) throw new Error("Nothing was handed out, though a run should be ready");
    return held;
  }

  /** Takes the run that must be ready now and starts it. */
  async takeAndStart(): Promise<HeldRun> {
    const held = await this.take();
    await held.start();
    return held;
  }

  /** Takes all that is ready now. */
  async takeAll(limit = 1_000): Promise<HeldRun[]> {
    const all: HeldRun[] = [];
    for (let held = await this.tryTake(); held !== undefined; held = await this.tryTake()) {
      all.push(held);
      if (all.length >= limit) break;
    }
    return all;
  }
}

/** A run in the hands of a node, with the snapshot that the node believes to be the latest. */
export class HeldRun {
  readonly worker: Worker;
  readonly message: DequeuedMessage;
  readonly runId: string;
  snapshotId: string;

  constructor(worker: Worker, message: DequeuedMessage) {
    this.worker = worker;
    this.message = message;
    this.runId = message.run.friendlyId;
    this.snapshotId = message.snapshot.friendlyId;
  }

  /** The same run as another process or runner sees it, with the same belief. */
  through(worker: Worker): HeldRun {
    const twin = new HeldRun(worker, this.message);
    twin.snapshotId = this.snapshotId;
    return twin;
  }

  async tryStart(): Promise<{ readonly kind: "started"; readonly result: StartResult } | Refusal> {
    const outcome = await this.worker.engine.startAttempt(this.worker.ref, this.runId, this.snapshotId, { isWarmStart: false });
    if (outcome.kind === "started") this.snapshotId = outcome.result.snapshot.friendlyId;
    return outcome;
  }

  async start(): Promise<StartResult> {
    return must(await this.tryStart(), "started").result;
  }

  async tryComplete(
    completion: TaskRunExecutionResult,
    forceRequeue = false,
  ): Promise<{ readonly kind: "completed"; readonly result: CompleteResult } | Refusal> {
    const outcome = await this.worker.engine.completeAttempt(this.worker.ref, this.runId, this.snapshotId, completion, { forceRequeue });
    if (outcome.kind === "completed") this.snapshotId = outcome.result.snapshot.friendlyId;
    return outcome;
  }

  async complete(completion: TaskRunExecutionResult, forceRequeue = false): Promise<CompleteResult> {
    return must(await this.tryComplete(completion, forceRequeue), "completed").result;
  }

  succeed(output = "done", outputType = "text/plain"): Promise<CompleteResult> {
    return this.complete(success(this.runId, output, outputType));
  }

  fail(error: TaskRunError = userError("no"), retryDelayMs?: number): Promise<CompleteResult> {
    return this.complete(failure(this.runId, error, retryDelayMs));
  }

  async heartbeat(): Promise<void> {
    must(await this.worker.engine.heartbeat(this.worker.ref, this.runId, this.snapshotId), "noted");
  }

  latest(): Promise<RunExecutionData> {
    return latestOf(this.worker, this.runId);
  }

  /** Believes what the engine says now, as a runner does that polls. */
  async catchUp(): Promise<RunExecutionData> {
    const data = await this.latest();
    this.snapshotId = data.snapshot.friendlyId;
    return data;
  }

  async since(snapshotId = this.snapshotId): Promise<readonly RunExecutionData[]> {
    return must(await this.worker.engine.snapshotsSince(this.worker.ref, this.runId, snapshotId, {}), "found").snapshots;
  }

  async tryContinue(): Promise<{ readonly kind: "continued"; readonly result: ExecutionResult } | Refusal> {
    const outcome = await this.worker.engine.continueRun(this.worker.ref, this.runId, this.snapshotId);
    if (outcome.kind === "continued") this.snapshotId = outcome.result.snapshot.friendlyId;
    return outcome;
  }

  async continue(): Promise<ExecutionResult> {
    return must(await this.tryContinue(), "continued").result;
  }

  /** Reports that the run's memory lies at `location`. */
  trySuspend(location: string, reason = "waiting"): Promise<SuspensionOutcome> {
    const checkpoint = { type: "COMPUTE" as const, location, reason };
    return this.worker.engine.completeSuspension(this.worker.ref, this.runId, this.snapshotId, { success: true, checkpoint });
  }

  /** Puts the run to sleep at its latest snapshot; answers the checkpoint's id. */
  async suspend(location = `mem_${this.runId}`, reason = "waiting"): Promise<string> {
    await this.catchUp();
    const { checkpointId } = must(await this.trySuspend(location, reason), "accepted");
    await this.catchUp();
    return checkpointId;
  }

  release(reason = "node full"): ReturnType<Engine["release"]> {
    return this.worker.engine.release(this.worker.ref, this.runId, this.snapshotId, reason);
  }

  restoreOutcome(outcome: RestoreOutcomeBody["outcome"], reason = "image damaged"): ReturnType<Engine["restoreOutcome"]> {
    return this.worker.engine.restoreOutcome(this.worker.ref, this.runId, this.snapshotId, { outcome, reason });
  }
}

export async function latestOf(worker: Worker, runId: string): Promise<RunExecutionData> {
  const data = await worker.engine.latestSnapshot(worker.ref, runId, {});
  if (data === null) throw new Error(`The engine does not know ${runId}`);
  return data;
}

/** The outcome if it is of that kind; fails the test with the refusal's own words if not. */
export function must<T extends { readonly kind: string }, const K extends T["kind"]>(
  outcome: T,
  kind: K,
): Extract<T, { readonly kind: K }> {
  expect(outcome, `expected "${kind}"`).toMatchObject({ kind });
  return outcome as Extract<T, { readonly kind: K }>;
}

export function success(runId: string, output?: string, outputType = "text/plain"): TaskRunExecutionResult {
  return { ok: true, id: runId, outputType, ...(output === undefined ? {} : { output }) };
}

export function failure(runId: string, error: TaskRunError, retryDelayMs?: number): TaskRunExecutionResult {
  return {
    ok: false,
    id: runId,
    error,
    ...(retryDelayMs === undefined ? {} : { retry: { timestamp: Date.now() + retryDelayMs, delay: retryDelayMs } }),
  };
}

export function canceled(runId: string): TaskRunExecutionResult {
  return failure(runId, systemError("TASK_RUN_CANCELLED"));
}

export function userError(message: string): TaskRunError {
  return { type: "BUILT_IN_ERROR", name: "Error", message, stackTrace: `Error: ${message}\n    at task.ts:1:1` };
}

export function systemError(code: string, message?: string, stackTrace?: string): TaskRunError {
  return {
    type: "INTERNAL_ERROR",
    code,
    ...(message === undefined ? {} : { message }),
    ...(stackTrace === undefined ? {} : { stackTrace }),
  };
}
