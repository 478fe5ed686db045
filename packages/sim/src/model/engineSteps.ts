// The steps of a run in the engine model, each by the engine's own tables and decisions.
import type { RunStatus, TaskRunExecutionResult } from "@torpor/contracts";
import {
  decideCompletion,
  decideGiveBack,
  DEFAULT_SETTINGS,
  finalStatus,
  nextStep,
  stallAction,
  stallAfterMs,
  systemFailure,
  type RunEvent,
} from "@torpor/engine/rules";
import type { SeededRandom } from "../kernel/seededRandom.ts";
import type { PlaneSettings } from "../scenario/scenario.ts";
import type { EngineTime } from "./engineTime.ts";
import type { Actor, ModelRun } from "./modelRun.ts";
import type { RunQueue } from "./runQueue.ts";

export interface EngineListener {
  /** Something was written; `event` names it. */
  advanced(run: ModelRun, event: RunEvent, by: Actor | null): void;
  /** The runner is to be told. */
  notify(runId: string): void;
}

export interface EngineParts {
  readonly time: EngineTime;
  readonly random: SeededRandom;
  readonly settings: PlaneSettings;
  readonly listener: EngineListener;
  readonly queue: RunQueue;
}

export class EngineSteps {
  readonly #time: EngineTime;
  readonly #random: SeededRandom;
  readonly #settings: PlaneSettings;
  readonly #listener: EngineListener;
  readonly #queue: RunQueue;

  constructor({ time, random, settings, listener, queue }: EngineParts) {
    this.#time = time;
    this.#random = random;
    this.#settings = settings;
    this.#listener = listener;
    this.#queue = queue;
  }

  /** Moves along the table, and tells whom it concerns. */
  advance(run: ModelRun, event: RunEvent, by: Actor | null, finalStatus?: RunStatus): void {
    const step = nextStep(run.status, event);
    run.advance(event, { nowMs: this.#time.epochMs, random: this.#random, ...(finalStatus === undefined ? {} : { finalStatus }) });
    run.heardAtMs = this.#time.nowMs;
    this.#armStall(run);
    this.#listener.advanced(run, event, by);
    if (step?.notify === true) this.#listener.notify(run.id);
  }

  /** As if nothing had been heard of the run for as long as its status allows. */
  stall(run: ModelRun): void {
    const action = stallAction(run.status);
    if (action === undefined || run.status === "SUSPENDED") return;
    if (action.kind === "giveBack") this.giveBack(run, null);
    else if (action.kind === "finishCancel") this.advance(run, "finish", null, "CANCELED");
    else if (action.kind === "failAttempt") {
      const failure = systemFailure(run.id, action.code, "stalled", DEFAULT_SETTINGS.stallRetryDelayMs, this.#time.epochMs);
      this.endAttempt(run, failure, true, null);
    }
  }

  /** What the runner is told of its attempt. */
  endAttempt(run: ModelRun, completion: TaskRunExecutionResult, forceRequeue: boolean, by: Actor | null): string {
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
        this.advance(run, "retryNow", by);
        return "RETRY_IMMEDIATELY";
      case "retryLater":
        run.readyAtMs = this.#time.nowMs + decision.delayMs;
        this.advance(run, "retryLater", by);
        this.#time.after(decision.delayMs, () => this.#queue.wake());
        return "RETRY_QUEUED";
      default: {
        const status: RunStatus =
          decision.kind === "succeed"
            ? "COMPLETED_SUCCESSFULLY"
            : decision.kind === "cancel"
              ? "CANCELED"
              : finalStatus(decision.error, "PRODUCTION");
        this.advance(run, "finish", by, status);
        return "RUN_FINISHED";
      }
    }
  }

  /** False: it has been given back too often, and has failed. */
  giveBack(run: ModelRun, by: Actor | null): boolean {
    run.giveBacks++;
    const decision = decideGiveBack(run.giveBacks, DEFAULT_SETTINGS.giveBack);
    if (decision.kind === "giveUp") {
      this.advance(run, "finish", by, "SYSTEM_FAILURE");
      return false;
    }
    run.readyAtMs = this.#time.nowMs + decision.delayMs;
    this.advance(run, "giveBack", by);
    this.#time.after(decision.delayMs, () => this.#queue.wake());
    return true;
  }

  /** Its memory is lost. */
  startOver(run: ModelRun, by: Actor): void {
    if (run.attempt < run.plan.maxAttempts) {
      this.advance(run, "startOver", by);
      run.readyAtMs = this.#time.nowMs;
      return this.#queue.wake();
    }
    this.advance(run, "finish", by, "SYSTEM_FAILURE");
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
}
