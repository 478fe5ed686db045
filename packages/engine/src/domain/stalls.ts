import type { ExecutionStatus } from "@torpor/contracts";

// A run from whom nothing is heard. Statuses without an entry wait for ever: their wake-up is durable by itself.

/** How long each status may be silent (ms). */
export interface StallTimes {
  /** Handed out, not started. */
  readonly pendingExecutingMs: number;
  readonly executingMs: number;
  readonly executingWithWaitpointsMs: number;
  /** Asleep: looked at again, in case a wake-up was missed. */
  readonly suspendedMs: number;
  readonly pendingCancelMs: number;
}

export type StallAction =
  | { readonly kind: "giveBack" }
  | { readonly kind: "failAttempt"; readonly code: "TASK_RUN_STALLED_EXECUTING" | "TASK_RUN_STALLED_EXECUTING_WITH_WAITPOINTS" }
  | { readonly kind: "recheck" }
  | { readonly kind: "finishCancel" };

interface StallRule {
  readonly time: keyof StallTimes;
  readonly action: StallAction;
}

const RULES: Readonly<Partial<Record<ExecutionStatus, StallRule>>> = {
  PENDING_EXECUTING: { time: "pendingExecutingMs", action: { kind: "giveBack" } },
  EXECUTING: { time: "executingMs", action: { kind: "failAttempt", code: "TASK_RUN_STALLED_EXECUTING" } },
  EXECUTING_WITH_WAITPOINTS: {
    time: "executingWithWaitpointsMs",
    action: { kind: "failAttempt", code: "TASK_RUN_STALLED_EXECUTING_WITH_WAITPOINTS" },
  },
  QUEUED_EXECUTING: {
    time: "executingWithWaitpointsMs",
    action: { kind: "failAttempt", code: "TASK_RUN_STALLED_EXECUTING_WITH_WAITPOINTS" },
  },
  SUSPENDED: { time: "suspendedMs", action: { kind: "recheck" } },
  PENDING_CANCEL: { time: "pendingCancelMs", action: { kind: "finishCancel" } },
};

/** Longest silence in that status (ms), or undefined when it has no limit. */
export function stallAfterMs(status: ExecutionStatus, times: StallTimes): number | undefined {
  const rule = RULES[status];
  return rule === undefined ? undefined : times[rule.time];
}

export function stallAction(status: ExecutionStatus): StallAction | undefined {
  return RULES[status]?.action;
}

export interface RecheckSettings {
  readonly baseMs: number;
  readonly maxMs: number;
  readonly maxTimes: number;
}

/** When to look at a sleeping run again that waits for runs or batches, after `times` looks; undefined: not again. */
export function recheckDelayMs(times: number, settings: RecheckSettings): number | undefined {
  if (times >= settings.maxTimes) return undefined;
  return Math.min(settings.baseMs * 2 ** times, settings.maxMs);
}
