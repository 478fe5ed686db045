import type { CallOutcome } from "@torpor/http";
import type { SnapshotResult } from "./callbacks.ts";
import type { FailReason } from "./lifeCycle.ts";

/** Why a freeze came to nothing, from the gateway's callback; null: none came in time. */
export function failReasonOf(result: SnapshotResult | null): FailReason {
  if (result === null) return "timed_out";
  if (result.status === "completed") return "internal";
  const { reason } = result;
  if (reason === undefined) return "checkpoint_failed";
  return reason === "canceled" || reason === "shutdown" ? "interrupted" : reason;
}

/** Why a freeze did not begin, from the gateway's answer. */
export function refusalReasonOf(asked: Exclude<CallOutcome<unknown>, { kind: "ok" }>): FailReason {
  if (asked.kind === "unreachable") return "gateway_unreachable";
  if (asked.status === 404) return "sandbox_gone";
  if (asked.status === 501) return "not_supported";
  if (asked.code === "memory_quota_exceeded") return "quota_exceeded";
  return asked.status === 409 || asked.status === 503 || asked.status === 429 ? "gateway_busy" : "checkpoint_failed";
}
