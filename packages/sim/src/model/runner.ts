// The npm runner as a state machine over its memory: what it does when a timer fires, an answer comes, or its socket speaks.
// It is the runner as it was seen, with its flaws: it asks to be suspended once per wait and never again, it forgets a run
// whose start failed, it believes `/env` alone, and it never says that it was restored.
import { IdleRunner } from "./idleRunner.ts";
import { begunExecution, type CallKind, type ExecutionMemory, placeOf, type Seen } from "./runnerMemory.ts";
import type { RunnerAnswer, RunnerShell, WireSnapshot } from "./runnerShell.ts";
import { newsOf } from "./runnerNews.ts";
import { RunnerTask, TASK_ERROR } from "./runnerTask.ts";

const BOOT_MS = 300;
const FLUSH_MS = 60;
const CANCEL_MS = 40;
const RESTORE_PAUSE_MS = 100;

export class RunnerModel {
  readonly #shell: RunnerShell;
  readonly #task: RunnerTask;
  readonly #idle: IdleRunner;

  constructor(shell: RunnerShell) {
    this.#shell = shell;
    this.#task = new RunnerTask(shell, () => this.#suspendIfFit());
    this.#idle = new IdleRunner(shell, (runId, snapshotId) => this.#begin(runId, snapshotId, true));
  }

  boot(env: Readonly<Record<string, string>>): void {
    this.#shell.memory.waiting = [];
    this.#shell.setTimer(`boot ${env["TRIGGER_RUN_ID"] ?? ""} ${env["TRIGGER_SNAPSHOT_ID"] ?? ""}`, BOOT_MS);
  }

  onTimer(name: string): void {
    const [kind = "", first = "", second = ""] = name.split(" ");
    switch (kind) {
      case "boot":
        return first === "" ? this.#idle.begin() : this.#begin(first, second, false);
      case "poll":
        return this.#poll();
      case "heartbeat":
        return this.#heartbeat();
      case "step":
        return this.#task.stepDone();
      case "giveUp":
        return this.#task.complete({ ok: false, error: TASK_ERROR });
      case "flushed":
        return this.#askToSuspend();
      case "restorePause":
        return this.#shell.call("env", "env", placeOf(this.#shell.memory), { purpose: "continue" });
      case "canceled":
        return this.#task.complete({ ok: false, error: { type: "INTERNAL_ERROR", code: "TASK_RUN_CANCELLED" } });
      case "nextAttempt":
        return this.#start();
      case "pollAgain":
        return this.#shell.call("poll", "poll", placeOf(this.#shell.memory));
      default:
        throw new Error(`Cannot handle timer ${name}`);
    }
  }

  onNotify(runId: string): void {
    if (this.#execution?.runId === runId) this.#poll();
  }

  onDisconnect(): void {
    if (this.#execution !== null) this.#shell.call("env", "env", placeOf(this.#shell.memory), { purpose: "poll" });
  }

  onAnswer(kind: CallKind, answer: RunnerAnswer, purpose: string): void {
    if (kind === "connect" || kind === "poll") return this.#idle.onAnswer(kind, answer);
    const execution = this.#execution;
    if (execution === null) return;
    switch (kind) {
      case "start":
        return this.#started(execution, answer);
      case "complete":
        return this.#completed(execution, answer);
      case "heartbeat":
        return;
      case "since":
        return this.#sinceAnswered(execution, answer);
      case "suspend":
        return this.#free();
      case "env":
        return this.#envAnswered(answer, purpose);
      case "continue":
        return answer.kind === "ok" ? this.#free() : this.#leave("it could not continue");
      case "wait":
        return this.#task.waitBegun(execution, answer);
    }
  }

  get #execution(): ExecutionMemory | null {
    return this.#shell.memory.execution;
  }

  #begin(runId: string, snapshotId: string, isWarmStart: boolean): void {
    const { memory } = this.#shell;
    memory.mode = "executing";
    memory.knownRunnerId = memory.runnerId;
    memory.execution = begunExecution({ runId, snapshotId, isWarmStart, plan: this.#shell.planIndexOf(runId) });
    this.#shell.emit("run:start", runId, snapshotId);
    this.#shell.setTimer("poll", this.#shell.pollMs);
    this.#start();
  }

  #start(): void {
    const execution = this.#execution;
    if (execution === null) return;
    execution.stage = "starting";
    this.#shell.call("start", "start", placeOf(this.#shell.memory), { body: execution.isWarmStart ? { isWarmStart: true } : {} });
  }

  #started(execution: ExecutionMemory, answer: RunnerAnswer): void {
    if (answer.kind !== "ok") return this.#leave("its start failed");
    const { snapshot, run } = answer.body as WireSnapshot;
    execution.attempt = run.attemptNumber ?? null;
    if (snapshot.friendlyId > execution.snapshotId) {
      execution.snapshotId = snapshot.friendlyId;
      execution.status = snapshot.executionStatus;
    }
    Object.assign(execution, { stage: "executing", position: 0, waitpointId: null, suspendable: false, completion: null });
    this.#shell.setTimer("heartbeat", this.#shell.heartbeatMs);
    this.#task.next();
  }

  #completed(execution: ExecutionMemory, answer: RunnerAnswer): void {
    if (answer.kind !== "ok") return this.#leave("its completion failed");
    const { result } = answer.body as { result: { attemptStatus: string } & WireSnapshot };
    if (result.attemptStatus !== "RETRY_IMMEDIATELY") return this.#leave(null);
    const retry = execution.completion?.["retry"] as { delay: number } | undefined;
    Object.assign(execution, {
      stage: "between_attempts",
      snapshotId: result.snapshot.friendlyId,
      status: result.snapshot.executionStatus,
      attempt: null,
      isWarmStart: true,
    });
    this.#shell.setTimer("nextAttempt", retry?.delay ?? 0);
  }

  #heartbeat(): void {
    this.#shell.call("heartbeat", "heartbeat", placeOf(this.#shell.memory), { body: {} });
    this.#shell.setTimer("heartbeat", this.#shell.heartbeatMs);
  }

  #poll(): void {
    if (this.#execution === null) return;
    this.#shell.setTimer("poll", this.#shell.pollMs);
    this.#shell.call("since", "since", placeOf(this.#shell.memory));
  }

  #sinceAnswered(execution: ExecutionMemory, answer: RunnerAnswer): void {
    if (answer.kind !== "ok") return this.#shell.call("env", "env", placeOf(this.#shell.memory), { purpose: "refresh" });
    const { snapshots } = answer.body as { snapshots: WireSnapshot[] };
    const news = newsOf(execution, snapshots);
    if (news.kind === "nothing") return;
    if (news.kind === "another_attempt") return this.#leave("the run has another attempt");
    const { seen, mayBeLost } = news;
    execution.snapshotId = seen.snapshotId;
    execution.status = seen.status;
    this.#shell.memory.waiting.push(seen);
    if (mayBeLost) {
      this.#shell.memory.busy = "env";
      return this.#shell.call("env", "env", placeOf(this.#shell.memory), { purpose: "lost?" });
    }
    if (this.#shell.memory.busy === null) this.#drain();
  }

  /** Its serial queue is free: what came meanwhile is dealt with. */
  #free(): void {
    this.#shell.memory.busy = null;
    this.#drain();
  }

  #drain(): void {
    const { memory } = this.#shell;
    while (memory.busy === null && memory.execution !== null) {
      const seen = memory.waiting.shift();
      if (seen === undefined) return this.#suspendIfFit();
      this.#act(memory.execution, seen);
    }
  }

  #act(execution: ExecutionMemory, seen: Seen): void {
    switch (seen.status) {
      case "PENDING_EXECUTING":
        if (seen.waitpointIds.length === 0) return;
        this.#shell.memory.busy = "restore";
        return this.#shell.call("env", "env", placeOf(this.#shell.memory), { purpose: "restore" });
      case "EXECUTING":
        execution.resolved.push(...seen.waitpointIds);
        if (execution.waitpointId !== null && execution.resolved.includes(execution.waitpointId)) this.#task.stepDone();
        return;
      case "EXECUTING_WITH_WAITPOINTS":
        return this.#suspendIfFit();
      case "PENDING_CANCEL":
        if (execution.stage === "completing") return;
        for (const timer of ["step", "giveUp"]) this.#shell.clearTimer(timer);
        this.#shell.dropCall("wait");
        return this.#shell.setTimer("canceled", CANCEL_MS);
      case "FINISHED":
        return execution.stage === "completing" ? undefined : this.#leave("the run is over");
      default:
        return this.#leave(`the run is ${seen.status}`);
    }
  }

  #suspendIfFit(): void {
    const execution = this.#execution;
    const { memory } = this.#shell;
    if (execution === null || memory.busy !== null || !execution.suspendable || execution.stage !== "executing") return;
    if (execution.status !== "EXECUTING_WITH_WAITPOINTS" || execution.suspendAskedAt === execution.snapshotId) return;
    execution.suspendAskedAt = execution.snapshotId;
    memory.busy = "flush";
    this.#shell.setTimer("flushed", FLUSH_MS);
  }

  #askToSuspend(): void {
    this.#shell.memory.busy = "suspend";
    this.#shell.call("suspend", "suspend", placeOf(this.#shell.memory));
  }

  #envAnswered(answer: RunnerAnswer, purpose: string): void {
    const { memory } = this.#shell;
    const env = (answer.kind === "ok" ? answer.body : {}) as Readonly<Record<string, string>>;
    const isOurs = env["TRIGGER_RUN_ID"] === undefined || env["TRIGGER_RUN_ID"] === this.#execution?.runId;
    const runnerId = isOurs ? env["TRIGGER_RUNNER_ID"] : undefined;
    if (runnerId !== undefined && runnerId !== "") memory.runnerId = runnerId;
    if (purpose === "poll") return this.#poll();
    if (purpose === "restore") return this.#shell.setTimer("restorePause", RESTORE_PAUSE_MS);
    if (purpose === "continue") return this.#shell.call("continue", "continue", placeOf(this.#shell.memory));
    if (purpose !== "lost?") return;
    if (runnerId === undefined || runnerId === memory.knownRunnerId) return this.#leave("it was replaced");
    memory.knownRunnerId = runnerId;
    this.#free();
  }

  #leave(why: string | null): void {
    const execution = this.#execution;
    const { memory } = this.#shell;
    if (execution === null) return;
    this.#shell.noted(why === null ? "ended its run" : "left its run", why === null ? {} : { why });
    for (const timer of ["poll", "heartbeat", "step", "giveUp", "flushed", "restorePause", "canceled", "nextAttempt"])
      this.#shell.clearTimer(timer);
    for (const call of ["start", "complete", "heartbeat", "since", "suspend", "continue", "env", "wait"]) this.#shell.dropCall(call);
    this.#shell.emit("run:stop", execution.runId, execution.startSnapshotId);
    Object.assign(memory, { execution: null, busy: null, waiting: [] });
    this.#idle.begin();
  }
}
