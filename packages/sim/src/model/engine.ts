// The engine without its database: each operation is one step, guarded by the latest snapshot as the real one is, decided by the
// real one's own tables. It loses nothing when the platform's process is killed.
import type { DequeuedMessage, RestoreOutcomeBody, RunStatus, TaskRunExecutionResult } from "@torpor/contracts";
import { machinePreset, TorporError } from "@torpor/contracts";
import {
  decideCompletion,
  decideElsewhere,
  decideGiveBack,
  DEFAULT_SETTINGS,
  finalStatus,
  isLost,
  MEMORY_IMAGE_ELSEWHERE,
  nextStep,
  queueAtMs,
  stallAction,
  stallAfterMs,
  systemFailure,
  type RunEvent,
} from "@torpor/engine/rules";
import { newIdBody } from "@torpor/kernel";
import { SeededRandom } from "../kernel/seededRandom.ts";
import type { VirtualTime } from "../kernel/virtualTime.ts";
import type { PlaneSettings, RunPlan } from "../scenario/scenario.ts";
import { ModelRun, type Actor } from "./modelRun.ts";

const EPOCH_MS = 1_700_000_000_000;
/** As long as it takes until a resume is carried out after its cause is on disk. */
const RESUME_MS = 2;

export interface EngineListener {
  /** Something was written; `event` names it. */
  advanced(run: ModelRun, event: RunEvent, by: Actor | null): void;
  /** The runner is to be told. */
  notify(runId: string): void;
}

export class EngineModel {
  readonly runs = new Map<string, ModelRun>();
  readonly #time: VirtualTime;
  readonly #random: SeededRandom;
  readonly #settings: PlaneSettings;
  readonly #listener: EngineListener;
  readonly #waiting = new Set<() => void>();
  readonly #nodesHeardAtMs = new Map<string, number>();

  constructor(deps: { time: VirtualTime; seed: number; settings: PlaneSettings; listener: EngineListener }) {
    this.#time = deps.time;
    this.#random = new SeededRandom(deps.seed, "engine");
    this.#settings = deps.settings;
    this.#listener = deps.listener;
  }

  get nowMs(): number {
    return Math.floor(EPOCH_MS + this.#time.nowMs);
  }

  trigger(index: number, plan: RunPlan): ModelRun {
    const run = new ModelRun(index, `run_${newIdBody(this.nowMs, this.#random)}`, plan);
    run.begin(this.nowMs, this.#random);
    run.readyAtMs = this.#time.nowMs;
    this.runs.set(run.id, run);
    this.#wake();
    return run;
  }

  run(runId: string): ModelRun {
    const run = this.runs.get(runId);
    if (run === undefined) throw new TorporError("not_found", `Cannot find run ${runId}`);
    return run;
  }

  /** The node is there. */
  nodeHeard(node: string): void {
    this.#nodesHeardAtMs.set(node, this.nowMs);
  }

  /** Hands out the run that has waited longest of those that the node may have, or waits for one. */
  async dequeue(by: Actor, options: { readonly waitMs: number; readonly signal: AbortSignal }): Promise<DequeuedMessage[]> {
    const untilMs = this.#time.nowMs + options.waitMs;
    this.nodeHeard(by.node);
    for (;;) {
      if (options.signal.aborted) return [];
      const run = this.#ready(by.node);
      if (run !== undefined) return [this.#handOut(run, by)];
      if (this.#time.nowMs >= untilMs) return [];
      await this.#something(untilMs - this.#time.nowMs, options.signal);
    }
  }

  /** A hand-out that its taker never heard of. */
  undoHandOut(runId: string, snapshotId: string): void {
    const run = this.run(runId);
    if (run.snapshotId === snapshotId && run.status === "PENDING_EXECUTING") this.#giveBack(run, null);
  }

  start(runId: string, snapshotId: string, by: Actor): ModelRun {
    const run = this.run(runId);
    if (run.hasEnded) throw new TorporError("run_finished", `Cannot start run ${runId}: it has ended`);
    const mayStart = nextStep(run.status, "start") !== undefined && (run.status !== "EXECUTING" || run.retryReady);
    if (run.snapshotId !== snapshotId || !mayStart) throw new TorporError("snapshot_stale", `Cannot start run ${runId}: it has moved on`);
    if (run.checkpoint !== null) throw new TorporError("request_invalid", `Cannot start run ${runId}: it sleeps`);
    run.attempt++;
    run.retryReady = false;
    run.giveBacks = 0;
    this.#advance(run, "start", by);
    return run;
  }

  /** `continue` is answered at the end of the wait, however soon it is asked for. */
  async untilOver(runId: string): Promise<void> {
    const leftMs = (this.runs.get(runId)?.goesOnAtMs ?? 0) - this.nowMs;
    if (leftMs > 0) await new Promise<void>((resolve) => void this.#time.after(leftMs, resolve));
  }

  continueRun(runId: string, snapshotId: string, by: Actor): ModelRun {
    const run = this.run(runId);
    if (run.snapshotId !== snapshotId || nextStep(run.status, "continue") === undefined || run.checkpoint === null)
      throw new TorporError("request_unprocessable", `Cannot continue run ${runId}: it is ${run.status}`);
    run.giveBacks = 0;
    this.#advance(run, "continue", by);
    return run;
  }

  heartbeat(runId: string, snapshotId: string): void {
    const run = this.run(runId);
    if (run.snapshotId === snapshotId) run.heardAtMs = this.#time.nowMs;
  }

  /** The run begins to wait, or goes on waiting. Safe to repeat with the same key. */
  block(runId: string, attempt: number, key: string, wait: { readonly for: "time" | "token"; readonly ms: number }): string {
    const run = this.run(runId);
    const known = run.waits.get(key);
    if (known !== undefined) return known;
    if (run.attempt !== attempt || (run.status !== "EXECUTING" && run.status !== "EXECUTING_WITH_WAITPOINTS"))
      throw new TorporError("request_unprocessable", `Cannot make run ${runId} wait: it is ${run.status}`);
    const id = `waitpoint_${newIdBody(this.nowMs, this.#random)}`;
    run.waits.set(key, id);
    run.blockers.set(key, { id, for: wait.for, endsAtMs: this.nowMs + wait.ms, completedAtMs: null });
    if (run.status === "EXECUTING") this.#advance(run, "block", null);
    this.#time.after(wait.ms, () => this.#complete(run, key, id));
    return id;
  }

  /** Ends whatever the run waits for. False: it waits for nothing. */
  wake(run: ModelRun): boolean {
    const open = [...run.blockers].filter(([, { completedAtMs }]) => completedAtMs === null);
    for (const [key, { id }] of open) this.#complete(run, key, id);
    return open.length > 0;
  }

  /** Accepted or not: only the latest snapshot sleeps. */
  suspend(runId: string, snapshotId: string, location: string, by: Actor): string | null {
    const run = this.run(runId);
    if (run.snapshotId !== snapshotId || nextStep(run.status, "suspend") === undefined) return null;
    const id = `checkpoint_${newIdBody(this.nowMs, this.#random)}`;
    run.checkpoint = { id, location, node: by.node };
    this.#advance(run, "suspend", by);
    // A wait that ended just now has been looked at before the run slept.
    const inMs = (queueAtMs(run.waitedFor, DEFAULT_SETTINGS.handOutAheadMs) ?? 0) - this.nowMs;
    this.#time.after(Math.max(RESUME_MS, inMs), () => this.#resume(run));
    return id;
  }

  release(runId: string, snapshotId: string, by: Actor): boolean {
    return this.#giveBack(this.#handedOut(runId, snapshotId), by);
  }

  restoreOutcome(runId: string, snapshotId: string, { outcome, reason }: RestoreOutcomeBody, by: Actor): void {
    const run = this.#handedOut(runId, snapshotId);
    if (run.checkpoint === null) return void this.#giveBack(run, by);
    if (outcome !== "requeue") return this.#startOver(run, by);
    if (reason !== MEMORY_IMAGE_ELSEWHERE) return void this.#giveBack(run, by);
    const { node } = run.checkpoint;
    const decision = decideElsewhere({ home: node, saidBy: by.node, isHomeLost: this.#isLost(node) });
    if (decision.kind === "startOver") return this.#startOver(run, by);
    this.#advance(run, "giveBack", by);
    this.#wake();
  }

  #startOver(run: ModelRun, by: Actor): void {
    if (run.attempt < run.plan.maxAttempts) {
      this.#advance(run, "startOver", by);
      run.readyAtMs = this.#time.nowMs;
      return this.#wake();
    }
    this.#advance(run, "finish", by, "SYSTEM_FAILURE");
  }

  complete(runId: string, snapshotId: string, completion: TaskRunExecutionResult, options: { forceRequeue: boolean; by: Actor }) {
    const run = this.run(runId);
    if (run.hasEnded) throw new TorporError("run_finished", `Cannot complete run ${runId}: it has ended`);
    const isExecuting = run.status === "PENDING_CANCEL" || nextStep(run.status, "retryNow") !== undefined;
    if (run.snapshotId !== snapshotId || !isExecuting)
      throw new TorporError("snapshot_mismatch", `Cannot complete run ${runId}: it has moved on`);
    return { attemptStatus: this.#endAttempt(run, completion, options.forceRequeue, options.by), run };
  }

  cancel(run: ModelRun): void {
    if (run.hasEnded || run.status === "PENDING_CANCEL") return;
    if (nextStep(run.status, "cancel")?.to === "PENDING_CANCEL") this.#advance(run, "cancel", null);
    else this.#advance(run, "cancel", null, "CANCELED");
  }

  /** As if nothing had been heard of the run for as long as its status allows. */
  stall(run: ModelRun): void {
    const action = stallAction(run.status);
    if (action === undefined || run.status === "SUSPENDED") return;
    if (action.kind === "giveBack") this.#giveBack(run, null);
    else if (action.kind === "finishCancel") this.#advance(run, "finish", null, "CANCELED");
    else if (action.kind === "failAttempt") {
      const failure = systemFailure(run.id, action.code, "stalled", DEFAULT_SETTINGS.stallRetryDelayMs, this.nowMs);
      this.#endAttempt(run, failure, true, null);
    }
  }

  liveLocations(locations: readonly string[]): string[] {
    const live = new Set<string>();
    for (const { checkpoint, hasEnded } of this.runs.values()) if (checkpoint !== null && !hasEnded) live.add(checkpoint.location);
    return locations.filter((location) => live.has(location));
  }

  #endAttempt(run: ModelRun, completion: TaskRunExecutionResult, forceRequeue: boolean, by: Actor | null): string {
    const facts = {
      attemptNumber: run.attempt,
      maxAttempts: run.plan.maxAttempts,
      machine: "small-1x" as const,
      retryConfig: {},
      isCanceling: run.status === "PENDING_CANCEL",
      forceRequeue,
    };
    const decision = decideCompletion(completion, facts, DEFAULT_SETTINGS.completion, () => this.#random.unit());
    switch (decision.kind) {
      case "retryNow":
        run.retryReady = true;
        this.#advance(run, "retryNow", by);
        return "RETRY_IMMEDIATELY";
      case "retryLater":
        run.readyAtMs = this.#time.nowMs + decision.delayMs;
        this.#advance(run, "retryLater", by);
        this.#time.after(decision.delayMs, () => this.#wake());
        return "RETRY_QUEUED";
      default: {
        const status: RunStatus =
          decision.kind === "succeed"
            ? "COMPLETED_SUCCESSFULLY"
            : decision.kind === "cancel"
              ? "CANCELED"
              : finalStatus(decision.error, "PRODUCTION");
        this.#advance(run, "finish", by, status);
        return "RUN_FINISHED";
      }
    }
  }

  #giveBack(run: ModelRun, by: Actor | null): boolean {
    run.giveBacks++;
    const decision = decideGiveBack(run.giveBacks, DEFAULT_SETTINGS.giveBack);
    if (decision.kind === "giveUp") {
      this.#advance(run, "finish", by, "SYSTEM_FAILURE");
      return false;
    }
    run.readyAtMs = this.#time.nowMs + decision.delayMs;
    this.#advance(run, "giveBack", by);
    this.#time.after(decision.delayMs, () => this.#wake());
    return true;
  }

  #handedOut(runId: string, snapshotId: string): ModelRun {
    const run = this.run(runId);
    if (run.snapshotId !== snapshotId || run.status !== "PENDING_EXECUTING")
      throw new TorporError("snapshot_stale", `Cannot give back run ${runId}: it is ${run.status}`);
    return run;
  }

  #ready(node: string): ModelRun | undefined {
    let best: ModelRun | undefined;
    for (const run of this.runs.values()) {
      if (run.status !== "QUEUED" || run.readyAtMs > this.#time.nowMs) continue;
      if (run.checkpoint !== null && run.checkpoint.node !== node && !this.#isLost(run.checkpoint.node)) continue;
      if (best === undefined || run.readyAtMs < best.readyAtMs) best = run;
    }
    return best;
  }

  #isLost(node: string): boolean {
    const heardAtMs = this.#nodesHeardAtMs.get(node);
    return isLost(heardAtMs === undefined ? null : new Date(heardAtMs), new Date(this.nowMs), DEFAULT_SETTINGS.nodeLostAfterMs);
  }

  #handOut(run: ModelRun, by: Actor): DequeuedMessage {
    this.#advance(run, "dequeue", by);
    const { checkpoint } = run;
    return {
      version: "1",
      snapshot: run.latest.snapshot,
      dequeuedAt: new Date(this.nowMs),
      image: `torpor/project@sha256:${"1".repeat(64)}`,
      ...(checkpoint === null ? {} : { checkpoint: { id: checkpoint.id, location: checkpoint.location, type: "COMPUTE" } }),
      completedWaitpoints: run.brought,
      backgroundWorker: { id: "w", friendlyId: "worker_w", version: "1" },
      deployment: { id: "d", friendlyId: "deployment_d" },
      run: {
        id: run.id.slice(4),
        friendlyId: run.id,
        isTest: false,
        isReplay: false,
        machine: machinePreset("small-1x"),
        attemptNumber: checkpoint === null ? run.attempt + 1 : run.attempt,
        masterQueue: "main",
        traceContext: {},
      },
      environment: { id: "env", type: "PRODUCTION" },
      organization: { id: "org" },
      project: { id: "proj" },
    };
  }

  #complete(run: ModelRun, key: string, id: string): void {
    const blocker = run.blockers.get(key);
    if (blocker === undefined || blocker.id !== id || blocker.completedAtMs !== null) return;
    blocker.completedAtMs = this.nowMs;
    this.#time.after(RESUME_MS, () => this.#resume(run));
  }

  #resume(run: ModelRun): void {
    if (run.blockers.size === 0 || nextStep(run.status, "resume") === undefined) return;
    const isAsleep = run.status === "SUSPENDED";
    const queueAt = isAsleep ? queueAtMs(run.waitedFor, DEFAULT_SETTINGS.handOutAheadMs) : null;
    if (run.isBlocked && (queueAt === null || queueAt > this.nowMs)) return;
    this.#advance(run, "resume", null);
    if (!isAsleep) return;
    run.readyAtMs = this.#time.nowMs;
    this.#wake();
  }

  #advance(run: ModelRun, event: RunEvent, by: Actor | null, finalStatus?: RunStatus): void {
    const step = nextStep(run.status, event);
    run.advance(event, { nowMs: this.nowMs, random: this.#random, ...(finalStatus === undefined ? {} : { finalStatus }) });
    run.heardAtMs = this.#time.nowMs;
    this.#armStall(run);
    this.#listener.advanced(run, event, by);
    if (step?.notify === true) this.#listener.notify(run.id);
  }

  #armStall(run: ModelRun): void {
    run.stall?.cancel();
    const times = {
      ...DEFAULT_SETTINGS.stalls,
      executingMs: this.#settings.executingStallMs,
      executingWithWaitpointsMs: this.#settings.executingStallMs,
      pendingExecutingMs: this.#settings.pendingExecutingStallMs,
    };
    const afterMs = run.status === "SUSPENDED" ? undefined : stallAfterMs(run.status, times);
    if (afterMs === undefined) return;
    const look = (): void => {
      const leftMs = run.heardAtMs + afterMs - this.#time.nowMs;
      if (leftMs <= 0) this.stall(run);
      else run.stall = this.#time.after(leftMs, look);
    };
    run.stall = this.#time.after(afterMs, look);
  }

  #wake(): void {
    for (const wake of Array.from(this.#waiting)) wake();
  }

  #something(withinMs: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        timer.cancel();
        this.#waiting.delete(done);
        resolve();
      };
      const timer = this.#time.after(withinMs, done);
      this.#waiting.add(done);
      signal.addEventListener("abort", done, { once: true });
    });
  }
}
