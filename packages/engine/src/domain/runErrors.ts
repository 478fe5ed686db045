import type { RunStatus, TaskRunError } from "@torpor/contracts";
import type { EnvironmentType } from "../api.ts";

// What an error means: the run's last status, and whether another attempt may help.

/** Final status for errors of the system, by code; every other code is SYSTEM_FAILURE. */
const STATUS_BY_CODE: Readonly<Record<string, RunStatus>> = {
  RECURSIVE_WAIT_DEADLOCK: "COMPLETED_WITH_ERRORS",
  TASK_INPUT_ERROR: "COMPLETED_WITH_ERRORS",
  TASK_OUTPUT_ERROR: "COMPLETED_WITH_ERRORS",
  TASK_MIDDLEWARE_ERROR: "COMPLETED_WITH_ERRORS",
  TASK_RUN_UNCAUGHT_EXCEPTION: "COMPLETED_WITH_ERRORS",
  TASK_RUN_CANCELLED: "CANCELED",
  MAX_DURATION_EXCEEDED: "TIMED_OUT",
  TASK_PROCESS_OOM_KILLED: "CRASHED",
  TASK_PROCESS_MAYBE_OOM_KILLED: "CRASHED",
  TASK_PROCESS_SIGSEGV: "CRASHED",
  TASK_PROCESS_EXITED_WITH_NON_ZERO_CODE: "CRASHED",
  DISK_SPACE_EXCEEDED: "CRASHED",
  OUTDATED_SDK_VERSION: "CRASHED",
  HANDLE_ERROR_ERROR: "CRASHED",
  TASK_RUN_CRASHED: "CRASHED",
};

const STALLED_CODES = new Set(["TASK_RUN_STALLED_EXECUTING", "TASK_RUN_STALLED_EXECUTING_WITH_WAITPOINTS"]);

/** The status of a run that ends with this error. A developer who walked away from a stalled run did not suffer a failure. */
export function finalStatus(error: TaskRunError, environment: EnvironmentType): RunStatus {
  if (isOutOfMemory(error)) return "CRASHED";
  if (error.type !== "INTERNAL_ERROR") return "COMPLETED_WITH_ERRORS";
  if (environment === "DEVELOPMENT" && STALLED_CODES.has(error.code)) return "CANCELED";
  return STATUS_BY_CODE[error.code] ?? "SYSTEM_FAILURE";
}

/** Errors that another attempt cannot mend. */
const NOT_RETRYABLE: ReadonlySet<string> = new Set([
  "COULD_NOT_FIND_EXECUTOR",
  "COULD_NOT_FIND_TASK",
  "COULD_NOT_IMPORT_TASK",
  "CONFIGURED_INCORRECTLY",
  "TASK_ALREADY_RUNNING",
  "TASK_PROCESS_SIGKILL_TIMEOUT",
  "TASK_PROCESS_OOM_KILLED",
  "TASK_PROCESS_MAYBE_OOM_KILLED",
  "TASK_RUN_CANCELLED",
  "MAX_DURATION_EXCEEDED",
  "DISK_SPACE_EXCEEDED",
  "OUTDATED_SDK_VERSION",
  "TASK_RUN_HEARTBEAT_TIMEOUT",
  "TASK_DID_CONCURRENT_WAIT",
  "RECURSIVE_WAIT_DEADLOCK",
  "TASK_DEQUEUED_INVALID_STATE",
  "TASK_DEQUEUED_QUEUE_NOT_FOUND",
  "TASK_HAS_N0_EXECUTION_SNAPSHOT",
  "TASK_RUN_DEQUEUED_MAX_RETRIES",
  "BATCH_ITEM_COULD_NOT_TRIGGER",
  "PAYLOAD_TOO_LARGE",
  "UNSPECIFIED_ERROR",
]);

export function isRetryable(error: TaskRunError): boolean {
  return error.type !== "INTERNAL_ERROR" || !NOT_RETRYABLE.has(error.code);
}

/** Errors after which the child could not compute a retry itself, so that the task's stored settings are used. */
const RETRY_FROM_SETTINGS: ReadonlySet<string> = new Set([
  "TASK_PROCESS_EXITED_WITH_NON_ZERO_CODE",
  "TASK_PROCESS_SIGTERM",
  "TASK_PROCESS_SIGSEGV",
  "TASK_RUN_UNCAUGHT_EXCEPTION",
  "TASK_MIDDLEWARE_ERROR",
]);

export function usesStoredRetry(error: TaskRunError): boolean {
  return error.type === "INTERNAL_ERROR" && RETRY_FROM_SETTINGS.has(error.code);
}

const HEAP_SIGNS = ["JavaScript heap out of memory", "Reached heap limit"];

/** Out of memory in all its signs: the codes, the SDK's own error, ffmpeg's, and what a killed container looks like. */
export function isOutOfMemory(error: TaskRunError): boolean {
  if (error.type === "BUILT_IN_ERROR") {
    return error.message === "MANUAL_OOM_KILL_ERROR" || error.message.includes("ffmpeg was killed with signal SIGKILL");
  }
  if (error.type !== "INTERNAL_ERROR") return false;
  if (error.code === "TASK_PROCESS_OOM_KILLED" || error.code === "TASK_PROCESS_MAYBE_OOM_KILLED") return true;
  const message = error.message ?? "";
  if (message.includes("ffmpeg was killed with signal SIGKILL")) return true;
  if (error.code !== "TASK_PROCESS_EXITED_WITH_NON_ZERO_CODE" || !message.includes("-1")) return false;
  if (message.includes("SIGKILL")) return true;
  return message.includes("SIGABRT") && HEAP_SIGNS.some((sign) => error.stackTrace?.includes(sign) === true);
}

export function internalError(code: string, message: string): TaskRunError {
  return { type: "INTERNAL_ERROR", code, message };
}
