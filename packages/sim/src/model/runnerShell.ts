import type { RunPlan } from "../scenario/scenario.ts";
import type { CallKind, ExecutionMemory, RunnerMemory } from "./runnerMemory.ts";

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

/** What a runner reads of a snapshot. */
export interface WireSnapshot {
  readonly snapshot: { readonly friendlyId: string; readonly executionStatus: string };
  readonly run: { readonly friendlyId: string; readonly attemptNumber?: number | null };
  readonly completedWaitpoints: readonly { readonly friendlyId: string }[];
}
