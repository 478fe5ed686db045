// The engine without its database: each operation is one step, guarded by the latest snapshot as the real one is, decided by the
// real one's own tables. It loses nothing when the platform's process is killed.
import type { DequeuedMessage, RestoreOutcomeBody, TaskRunExecutionResult } from "@torpor/contracts";
import { TorporError } from "@torpor/contracts";
import { decideElsewhere, DEFAULT_SETTINGS, MEMORY_IMAGE_ELSEWHERE, nextStep, queueAtMs } from "@torpor/engine/rules";
import { newIdBody } from "@torpor/kernel";
import { SeededRandom } from "../kernel/seededRandom.ts";
import type { VirtualTime } from "../kernel/virtualTime.ts";
import type { PlaneSettings, RunPlan } from "../scenario/scenario.ts";
import { EngineSteps, type EngineListener } from "./engineSteps.ts";
import { EngineTime } from "./engineTime.ts";
import { handOut } from "./handOut.ts";
import { ModelRun, type Actor } from "./modelRun.ts";
import { RunQueue } from "./runQueue.ts";

/** As long as it takes until a resume is carried out after its cause is on disk. */
const RESUME_MS = 2;

export class EngineModel {
  readonly #time: EngineTime;
  readonly #random: SeededRandom;
  readonly #queue: RunQueue;
  readonly #steps: EngineSteps;

  constructor(deps: { time: VirtualTime; seed: number; settings: PlaneSettings; listener: EngineListener }) {
    const { settings, listener } = deps;
    this.#time = new EngineTime(deps.time);
    this.#random = new SeededRandom(deps.seed, "engine");
    this.#queue = new RunQueue(this.#time);
    this.#steps = new EngineSteps({ time: this.#time, random: this.#random, settings, listener, queue: this.#queue });
  }

  get runs(): ReadonlyMap<string, ModelRun> {
    return this.#queue.runs;
  }

  trigger(index: number, plan: RunPlan): ModelRun {
    const run = new ModelRun(index, `run_${newIdBody(this.#time.epochMs, this.#random)}`, plan);
    run.begin(this.#time.epochMs, this.#random);
    run.readyAtMs = this.#time.nowMs;
    this.#queue.runs.set(run.id, run);
    this.#queue.wake();
    return run;
  }

  run(runId: string): ModelRun {
    const run = this.runs.get(runId);
    if (run === undefined) throw new TorporError("not_found", `Cannot find run ${runId}`);
    return run;
  }

  /** The node is there. */
  nodeHeard(node: string): void {
    this.#queue.nodeHeard(node);
  }

  /** Hands out the run that has waited longest of those that the node may have, or waits for one. */
  async dequeue(by: Actor, options: { readonly waitMs: number; readonly signal: AbortSignal }): Promise<DequeuedMessage[]> {
    const message = await this.#queue.next(by.node, options, (run) => {
      this.#steps.advance(run, "dequeue", by);
      return handOut(run, this.#time.epochMs);
    });
    return message === undefined ? [] : [message];
  }

  /** A hand-out that its taker never heard of. */
  undoHandOut(runId: string, snapshotId: string): void {
    const run = this.run(runId);
    if (run.snapshotId === snapshotId && run.status === "PENDING_EXECUTING") this.#steps.giveBack(run, null);
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
    this.#steps.advance(run, "start", by);
    return run;
  }

  /** `continue` is answered at the end of the wait, however soon it is asked for. */
  async untilOver(runId: string): Promise<void> {
    const leftMs = (this.runs.get(runId)?.goesOnAtMs ?? 0) - this.#time.epochMs;
    if (leftMs > 0) await new Promise<void>((resolve) => void this.#time.after(leftMs, resolve));
  }

  continueRun(runId: string, snapshotId: string, by: Actor): ModelRun {
    const run = this.run(runId);
    if (run.snapshotId !== snapshotId || nextStep(run.status, "continue") === undefined || run.checkpoint === null)
      throw new TorporError("request_unprocessable", `Cannot continue run ${runId}: it is ${run.status}`);
    run.giveBacks = 0;
    this.#steps.advance(run, "continue", by);
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
    const id = `waitpoint_${newIdBody(this.#time.epochMs, this.#random)}`;
    run.waits.set(key, id);
    run.blockers.set(key, { id, for: wait.for, endsAtMs: this.#time.epochMs + wait.ms, completedAtMs: null });
    if (run.status === "EXECUTING") this.#steps.advance(run, "block", null);
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
    const id = `checkpoint_${newIdBody(this.#time.epochMs, this.#random)}`;
    run.checkpoint = { id, location, node: by.node };
    this.#steps.advance(run, "suspend", by);
    // A wait that ended just now has been looked at before the run slept.
    const inMs = (queueAtMs(run.waitedFor, DEFAULT_SETTINGS.handOutAheadMs) ?? 0) - this.#time.epochMs;
    this.#time.after(Math.max(RESUME_MS, inMs), () => this.#resume(run));
    return id;
  }

  release(runId: string, snapshotId: string, by: Actor): boolean {
    return this.#steps.giveBack(this.#handedOut(runId, snapshotId), by);
  }

  restoreOutcome(runId: string, snapshotId: string, { outcome, reason }: RestoreOutcomeBody, by: Actor): void {
    const run = this.#handedOut(runId, snapshotId);
    if (run.checkpoint === null) return void this.#steps.giveBack(run, by);
    if (outcome !== "requeue") return this.#steps.startOver(run, by);
    if (reason !== MEMORY_IMAGE_ELSEWHERE) return void this.#steps.giveBack(run, by);
    const { node } = run.checkpoint;
    const decision = decideElsewhere({ home: node, saidBy: by.node, isHomeLost: this.#queue.isLost(node) });
    if (decision.kind === "startOver") return this.#steps.startOver(run, by);
    this.#steps.advance(run, "giveBack", by);
    this.#queue.wake();
  }

  complete(runId: string, snapshotId: string, completion: TaskRunExecutionResult, options: { forceRequeue: boolean; by: Actor }) {
    const run = this.run(runId);
    if (run.hasEnded) throw new TorporError("run_finished", `Cannot complete run ${runId}: it has ended`);
    const isExecuting = run.status === "PENDING_CANCEL" || nextStep(run.status, "retryNow") !== undefined;
    if (run.snapshotId !== snapshotId || !isExecuting)
      throw new TorporError("snapshot_mismatch", `Cannot complete run ${runId}: it has moved on`);
    return { attemptStatus: this.#steps.endAttempt(run, completion, options.forceRequeue, options.by), run };
  }

  cancel(run: ModelRun): void {
    if (run.hasEnded || run.status === "PENDING_CANCEL") return;
    if (nextStep(run.status, "cancel")?.to === "PENDING_CANCEL") this.#steps.advance(run, "cancel", null);
    else this.#steps.advance(run, "cancel", null, "CANCELED");
  }

  /** As if nothing had been heard of the run for as long as its status allows. */
  stall(run: ModelRun): void {
    this.#steps.stall(run);
  }

  liveLocations(locations: readonly string[]): string[] {
    const live = new Set<string>();
    for (const { checkpoint, hasEnded } of this.runs.values()) if (checkpoint !== null && !hasEnded) live.add(checkpoint.location);
    return locations.filter((location) => live.has(location));
  }

  #handedOut(runId: string, snapshotId: string): ModelRun {
    const run = this.run(runId);
    if (run.snapshotId !== snapshotId || run.status !== "PENDING_EXECUTING")
      throw new TorporError("snapshot_stale", `Cannot give back run ${runId}: it is ${run.status}`);
    return run;
  }

  #complete(run: ModelRun, key: string, id: string): void {
    const blocker = run.blockers.get(key);
    if (blocker === undefined || blocker.id !== id || blocker.completedAtMs !== null) return;
    blocker.completedAtMs = this.#time.epochMs;
    this.#time.after(RESUME_MS, () => this.#resume(run));
  }

  #resume(run: ModelRun): void {
    if (run.blockers.size === 0 || nextStep(run.status, "resume") === undefined) return;
    const isAsleep = run.status === "SUSPENDED";
    const queueAt = isAsleep ? queueAtMs(run.waitedFor, DEFAULT_SETTINGS.handOutAheadMs) : null;
    if (run.isBlocked && (queueAt === null || queueAt > this.#time.epochMs)) return;
    this.#steps.advance(run, "resume", null);
    if (!isAsleep) return;
    run.readyAtMs = this.#time.nowMs;
    this.#queue.wake();
  }
}
