// The npm runner as a state machine over its memory: what it does when a timer fires, an answer comes, or its socket speaks.
// It is the runner as it was seen, with its flaws: it asks to be suspended once per wait and never again, it forgets a run
// whose start failed, it believes `/env` alone, and it never says that it was restored.
import type { RunPlan, TaskStep } from "../scenario/scenario.ts";
import type { CallKind, ExecutionMemory, RunnerMemory, Seen } from "./runnerMemory.ts";

/** The machine under the runner. */
export interface RunnerShell {
  readonly memory: RunnerMemory;
  readonly pollMs: number;
  readonly heartbeatMs: number;
  nowMs(): number;
  /** Sets or replaces a timer. */
  setTimer(name: string, delayMs: number): void;
  clearTimer(name: string): void;
  /** Makes a call; one of a name at a time. */
  call(name: string, kind: CallKind, at: { runId: string; snapshotId: string }, options?: { body?: unknown; purpose?: string }): void;
  dropCall(name: string): void;
  emit(event: "run:start" | "run:stop", runId: string, snapshotId: string): void;
  planOf(index: number): RunPlan;
  planIndexOf(runId: string): number;
  /** A line of the user's code has run. */
  stepped(execution: ExecutionMemory): void;
  noted(what: string, facts: Readonly<Record<string, unknown>>): void;
  exit(code: number): void;
}

export type RunnerAnswer =
  | { readonly kind: "ok"; readonly body: unknown }
  | { readonly kind: "refused"; readonly status: number }
  | { readonly kind: "unreachable" };

interface WireSnapshot {
  readonly snapshot: { readonly friendlyId: string; readonly executionStatus: string };
  readonly run: { readonly friendlyId: string; readonly attemptNumber?: number | null };
  readonly completedWaitpoints: readonly { readonly friendlyId: string }[];
}

const BOOT_MS = 300;
const FLUSH_MS = 60;
const CANCEL_MS = 40;
const RESTORE_PAUSE_MS = 100;
const KEEP_IDLE_MS = 60_000;
const POLL_AGAIN_MS = 1_000;
const TASK_ERROR = { type: "BUILT_IN_ERROR", name: "Error", message: "the task failed", stackTrace: "" };

export class RunnerModel {
  readonly #shell: RunnerShell;

  constructor(shell: RunnerShell) {
    this.#shell = shell;
  }

  boot(env: Readonly<Record<string, string>>): void {
    this.#shell.memory.waiting = [];
    this.#shell.setTimer(`boot ${env["TRIGGER_RUN_ID"] ?? ""} ${env["TRIGGER_SNAPSHOT_ID"] ?? ""}`, BOOT_MS);
  }

  onTimer(name: string): void {
    const [kind = "", first = "", second = ""] = name.split(" ");
    switch (kind) {
      case "boot":
        return first === "" ? this.#idle() : this.#begin(first, second, false);
      case "poll":
        return this.#poll();
      case "heartbeat":
        return this.#heartbeat();
      case "step":
        return this.#stepDone();
      case "giveUp":
        return this.#complete({ ok: false, error: TASK_ERROR });
      case "flushed":
        return this.#askToSuspend();
      case "restorePause":
        return this.#shell.call("env", "env", this.#at(), { purpose: "continue" });
      case "canceled":
        return this.#complete({ ok: false, error: { type: "INTERNAL_ERROR", code: "TASK_RUN_CANCELLED" } });
      case "nextAttempt":
        return this.#start();
      case "pollAgain":
        return this.#shell.call("poll", "poll", this.#at());
      default:
        throw new Error(`Cannot handle timer ${name}`);
    }
  }

  onNotify(runId: string): void {
    if (this.#execution?.runId === runId) this.#poll();
  }

  onDisconnect(): void {
    if (this.#execution !== null) this.#shell.call("env", "env", this.#at(), { purpose: "poll" });
  }

  onAnswer(kind: CallKind, answer: RunnerAnswer, purpose: string): void {
    if (kind === "connect" || kind === "poll") return this.#onIdleAnswer(kind, answer);
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
        return answer.kind === "ok" ? this.#free() : this.#abandon("it could not continue");
      case "wait":
        return this.#waitBegun(execution, answer);
    }
  }

  get #execution(): ExecutionMemory | null {
    return this.#shell.memory.execution;
  }

  #at(): { runId: string; snapshotId: string } {
    return { runId: this.#execution?.runId ?? "", snapshotId: this.#execution?.snapshotId ?? "" };
  }

  #begin(runId: string, snapshotId: string, isWarmStart: boolean): void {
    const { memory } = this.#shell;
    memory.mode = "executing";
    memory.knownRunnerId = memory.runnerId;
    memory.execution = {
      runId,
      plan: this.#shell.planIndexOf(runId),
      startSnapshotId: snapshotId,
      isWarmStart,
      snapshotId,
      status: "PENDING_EXECUTING",
      attempt: null,
      stage: "starting",
      position: 0,
      waitpointId: null,
      resolved: [],
      suspendable: false,
      suspendAskedAt: null,
      completion: null,
    };
    this.#shell.emit("run:start", runId, snapshotId);
    this.#shell.setTimer("poll", this.#shell.pollMs);
    this.#start();
  }

  #start(): void {
    const execution = this.#execution;
    if (execution === null) return;
    execution.stage = "starting";
    this.#shell.call("start", "start", this.#at(), { body: execution.isWarmStart ? { isWarmStart: true } : {} });
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
    this.#next();
  }

  #step(): TaskStep | undefined {
    const execution = this.#execution;
    return execution === null ? undefined : this.#shell.planOf(execution.plan).steps[execution.position];
  }

  /** The task's next line. */
  #next(): void {
    const execution = this.#execution;
    if (execution?.stage !== "executing") return;
    const step = this.#step();
    if (step === undefined) return this.#complete({ ok: true, outputType: "application/json" });
    if (step.kind === "work") return this.#shell.setTimer("step", step.ms);
    if (step.kind === "wait") {
      const key = `${execution.attempt}:${execution.position}`;
      return this.#shell.call("wait", "wait", this.#at(), { body: { attempt: execution.attempt, key, for: step.for, ms: step.ms } });
    }
    if (execution.attempt !== step.onAttempt) return this.#stepDone();
    const retry = { timestamp: this.#shell.nowMs() + step.retryDelayMs, delay: step.retryDelayMs };
    this.#complete({ ok: false, error: TASK_ERROR, retry });
  }

  #stepDone(): void {
    const execution = this.#execution;
    if (execution?.stage !== "executing") return;
    this.#shell.stepped(execution);
    execution.position++;
    execution.waitpointId = null;
    execution.suspendable = false;
    this.#shell.clearTimer("giveUp");
    this.#next();
  }

  #waitBegun(execution: ExecutionMemory, answer: RunnerAnswer): void {
    if (execution.stage !== "executing") return;
    if (answer.kind !== "ok") return this.#complete({ ok: false, error: TASK_ERROR });
    execution.waitpointId = (answer.body as { waitpointId: string }).waitpointId;
    if (execution.resolved.includes(execution.waitpointId)) return this.#stepDone();
    execution.suspendable = true;
    const step = this.#step();
    if (step?.kind === "wait" && step.giveUpMs !== null) this.#shell.setTimer("giveUp", step.giveUpMs);
    this.#suspendIfFit();
  }

  #complete(completion: Readonly<Record<string, unknown>>): void {
    const execution = this.#execution;
    if (execution === null || execution.stage === "completing") return;
    execution.stage = "completing";
    execution.completion = { ...completion, id: execution.runId };
    for (const timer of ["step", "giveUp", "heartbeat"]) this.#shell.clearTimer(timer);
    this.#shell.dropCall("wait");
    this.#shell.call("complete", "complete", this.#at(), { body: { completion: execution.completion } });
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
    this.#shell.call("heartbeat", "heartbeat", this.#at(), { body: {} });
    this.#shell.setTimer("heartbeat", this.#shell.heartbeatMs);
  }

  #poll(): void {
    if (this.#execution === null) return;
    this.#shell.setTimer("poll", this.#shell.pollMs);
    this.#shell.call("since", "since", this.#at());
  }

  #sinceAnswered(execution: ExecutionMemory, answer: RunnerAnswer): void {
    if (answer.kind !== "ok") return this.#shell.call("env", "env", this.#at(), { purpose: "refresh" });
    const { snapshots } = answer.body as { snapshots: WireSnapshot[] };
    const news = snapshots.filter(({ run, snapshot }) => run.friendlyId === execution.runId && snapshot.friendlyId > execution.snapshotId);
    const latest = news.at(-1);
    if (latest === undefined || execution.stage === "between_attempts") return;
    const { attempt } = execution;
    if (attempt !== null && news.some(({ run }) => run.attemptNumber !== attempt)) return this.#abandon("the run has another attempt");
    execution.snapshotId = latest.snapshot.friendlyId;
    execution.status = latest.snapshot.executionStatus;
    const seen: Seen = {
      snapshotId: execution.snapshotId,
      status: execution.status,
      waitpointIds: latest.completedWaitpoints.map(({ friendlyId }) => friendlyId),
    };
    const mayBeLost = news
      .slice(0, -1)
      .some(({ snapshot }) => snapshot.executionStatus === "QUEUED" || snapshot.executionStatus === "SUSPENDED");
    this.#shell.memory.waiting.push(seen);
    if (mayBeLost) {
      this.#shell.memory.busy = "env";
      return this.#shell.call("env", "env", this.#at(), { purpose: "lost?" });
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
        return this.#shell.call("env", "env", this.#at(), { purpose: "restore" });
      case "EXECUTING":
        return this.#resolve(execution, seen.waitpointIds);
      case "EXECUTING_WITH_WAITPOINTS":
        return this.#suspendIfFit();
      case "PENDING_CANCEL":
        if (execution.stage === "completing") return;
        for (const timer of ["step", "giveUp"]) this.#shell.clearTimer(timer);
        this.#shell.dropCall("wait");
        return this.#shell.setTimer("canceled", CANCEL_MS);
      case "FINISHED":
        return execution.stage === "completing" ? undefined : this.#abandon("the run is over");
      default:
        return this.#abandon(`the run is ${seen.status}`);
    }
  }

  #resolve(execution: ExecutionMemory, waitpointIds: readonly string[]): void {
    execution.resolved.push(...waitpointIds);
    if (execution.waitpointId !== null && execution.resolved.includes(execution.waitpointId)) this.#stepDone();
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
    this.#shell.call("suspend", "suspend", this.#at());
  }

  #envAnswered(answer: RunnerAnswer, purpose: string): void {
    const { memory } = this.#shell;
    const env = (answer.kind === "ok" ? answer.body : {}) as Readonly<Record<string, string>>;
    const isOurs = env["TRIGGER_RUN_ID"] === undefined || env["TRIGGER_RUN_ID"] === this.#execution?.runId;
    const runnerId = isOurs ? env["TRIGGER_RUNNER_ID"] : undefined;
    if (runnerId !== undefined && runnerId !== "") memory.runnerId = runnerId;
    if (purpose === "poll") return this.#poll();
    if (purpose === "restore") return this.#shell.setTimer("restorePause", RESTORE_PAUSE_MS);
    if (purpose === "continue") return this.#shell.call("continue", "continue", this.#at());
    if (purpose !== "lost?") return;
    if (runnerId === undefined || runnerId === memory.knownRunnerId) return this.#abandon("it was replaced");
    memory.knownRunnerId = runnerId;
    this.#free();
  }

  /** It lets go of the run without a word. */
  #abandon(why: string): void {
    this.#leave(why);
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
    this.#idle();
  }

  #idle(): void {
    const { memory } = this.#shell;
    memory.mode = "idle";
    if (!memory.warmStarts) return this.#exit();
    memory.idleUntilMs = this.#shell.nowMs() + KEEP_IDLE_MS;
    this.#shell.call("connect", "connect", this.#at());
  }

  #onIdleAnswer(kind: "connect" | "poll", answer: RunnerAnswer): void {
    const { memory } = this.#shell;
    if (memory.mode !== "idle") return;
    const message =
      answer.kind === "ok" ? (answer.body as { run?: { friendlyId: string }; snapshot?: { friendlyId: string } } | undefined) : undefined;
    if (kind === "poll" && message?.run !== undefined && message.snapshot !== undefined) {
      return this.#begin(message.run.friendlyId, message.snapshot.friendlyId, true);
    }
    const isOver = this.#shell.nowMs() >= memory.idleUntilMs || (kind === "poll" && answer.kind === "refused");
    if (isOver || (kind === "connect" && answer.kind !== "ok")) return this.#exit();
    if (kind === "poll") this.#shell.setTimer("pollAgain", POLL_AGAIN_MS);
    else this.#shell.call("poll", "poll", this.#at());
  }

  #exit(): void {
    this.#shell.memory.mode = "exited";
    this.#shell.exit(0);
  }
}
