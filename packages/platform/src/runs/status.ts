import { RunStatus } from "@torpor/contracts";

/** Status as SDKs since version 4 know it. */
const CURRENT: Readonly<Record<RunStatus, string>> = {
  DELAYED: "DELAYED",
  PENDING: "QUEUED",
  PENDING_VERSION: "PENDING_VERSION",
  WAITING_FOR_DEPLOY: "PENDING_VERSION",
  DEQUEUED: "DEQUEUED",
  EXECUTING: "EXECUTING",
  RETRYING_AFTER_FAILURE: "EXECUTING",
  WAITING_TO_RESUME: "WAITING",
  PAUSED: "WAITING",
  CANCELED: "CANCELED",
  INTERRUPTED: "FAILED",
  COMPLETED_SUCCESSFULLY: "COMPLETED",
  COMPLETED_WITH_ERRORS: "FAILED",
  SYSTEM_FAILURE: "SYSTEM_FAILURE",
  CRASHED: "CRASHED",
  EXPIRED: "EXPIRED",
  TIMED_OUT: "TIMED_OUT",
};

/** Callers that send no API version are older and know these names. */
const OLD: Readonly<Partial<Record<RunStatus, string>>> = {
  PENDING_VERSION: "WAITING_FOR_DEPLOY",
  WAITING_FOR_DEPLOY: "WAITING_FOR_DEPLOY",
  DEQUEUED: "QUEUED",
  RETRYING_AFTER_FAILURE: "REATTEMPTING",
  WAITING_TO_RESUME: "FROZEN",
  PAUSED: "FROZEN",
  INTERRUPTED: "INTERRUPTED",
};

export const API_VERSION_HEADER = "x-trigger-api-version";

/** Which names the caller knows. */
export type StatusNames = "current" | "old";

export function statusName(status: RunStatus, names: StatusNames): string {
  return (names === "old" ? OLD[status] : undefined) ?? CURRENT[status];
}

/** The engine's statuses behind a name that a caller filters by; empty when nobody knows the name. */
export function statusesNamed(name: string): RunStatus[] {
  return RunStatus.options.filter((status) => status === name || CURRENT[status] === name || OLD[status] === name);
}

export interface StatusFlags {
  readonly isQueued: boolean;
  readonly isExecuting: boolean;
  readonly isWaiting: boolean;
  readonly isCompleted: boolean;
  readonly isSuccess: boolean;
  readonly isFailed: boolean;
  readonly isCancelled: boolean;
}

const QUEUED: readonly string[] = ["QUEUED", "PENDING_VERSION", "DELAYED"];
const EXECUTING: readonly string[] = ["DEQUEUED", "EXECUTING"];
const FAILED: readonly string[] = ["FAILED", "SYSTEM_FAILURE", "CRASHED", "EXPIRED", "TIMED_OUT"];

/** What the SDK answers quick questions with. */
export function statusFlags(status: RunStatus): StatusFlags {
  const name = CURRENT[status];
  const isFailed = FAILED.includes(name);
  const isCancelled = name === "CANCELED";
  const isSuccess = name === "COMPLETED";
  return {
    isQueued: QUEUED.includes(name),
    isExecuting: EXECUTING.includes(name),
    isWaiting: name === "WAITING",
    isCompleted: isFailed || isCancelled || isSuccess,
    isSuccess,
    isFailed,
    isCancelled,
  };
}
