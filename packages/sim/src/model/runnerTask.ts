// The user's code as a runner drives it: line by line, from where its memory says that it is.
import type { TaskStep } from "../scenario/scenario.ts";
import { placeOf, type ExecutionMemory } from "./runnerMemory.ts";
import type { RunnerAnswer, RunnerShell } from "./runnerShell.ts";

export const TASK_ERROR = { type: "BUILT_IN_ERROR", name: "Error", message: "the task failed", stackTrace: "" };

export class RunnerTask {
  readonly #shell: RunnerShell;
  /** The task has begun to wait. */
  readonly #onWaiting: () => void;

  constructor(shell: RunnerShell, onWaiting: () => void) {
    this.#shell = shell;
    this.#onWaiting = onWaiting;
  }

  get #execution(): ExecutionMemory | null {
    return this.#shell.memory.execution;
  }

  #step(): TaskStep | undefined {
    const execution = this.#execution;
    return execution === null ? undefined : this.#shell.planOf(execution.plan).steps[execution.position];
  }

  /** The task's next line. */
  next(): void {
    const execution = this.#execution;
    if (execution?.stage !== "executing") return;
    const step = this.#step();
    if (step === undefined) return this.complete({ ok: true, outputType: "application/json" });
    if (step.kind === "work") return this.#shell.setTimer("step", step.ms);
    if (step.kind === "wait") {
      const key = `${execution.attempt}:${execution.position}`;
      return this.#shell.call("wait", "wait", placeOf(this.#shell.memory), {
        body: { attempt: execution.attempt, key, for: step.for, ms: step.ms },
      });
    }
    if (execution.attempt !== step.onAttempt) return this.stepDone();
    const retry = { timestamp: this.#shell.nowMs() + step.retryDelayMs, delay: step.retryDelayMs };
    this.complete({ ok: false, error: TASK_ERROR, retry });
  }

  /** A line has run, or its wait is over. */
  stepDone(): void {
    const execution = this.#execution;
    if (execution?.stage !== "executing") return;
    this.#shell.stepped(execution);
    execution.position++;
    execution.waitpointId = null;
    execution.suspendable = false;
    this.#shell.clearTimer("giveUp");
    this.next();
  }

  /** The platform has answered to the beginning of a wait. */
  waitBegun(execution: ExecutionMemory, answer: RunnerAnswer): void {
    if (execution.stage !== "executing") return;
    if (answer.kind !== "ok") return this.complete({ ok: false, error: TASK_ERROR });
    execution.waitpointId = (answer.body as { waitpointId: string }).waitpointId;
    if (execution.resolved.includes(execution.waitpointId)) return this.stepDone();
    execution.suspendable = true;
    const step = this.#step();
    if (step?.kind === "wait" && step.giveUpMs !== null) this.#shell.setTimer("giveUp", step.giveUpMs);
    this.#onWaiting();
  }

  /** The task has ended, however. */
  complete(completion: Readonly<Record<string, unknown>>): void {
    const execution = this.#execution;
    if (execution === null || execution.stage === "completing") return;
    execution.stage = "completing";
    execution.completion = { ...completion, id: execution.runId };
    for (const timer of ["step", "giveUp", "heartbeat"]) this.#shell.clearTimer(timer);
    this.#shell.dropCall("wait");
    this.#shell.call("complete", "complete", placeOf(this.#shell.memory), { body: { completion: execution.completion } });
  }
}
