import type { ExecutionStatus } from "@torpor/contracts";

// What a change of status brings with it, whoever makes it: concurrency, the place in the queue, timers, waits.

const HOLDS_SLOT: ReadonlySet<ExecutionStatus> = new Set<ExecutionStatus>([
  "PENDING_EXECUTING",
  "EXECUTING",
  "EXECUTING_WITH_WAITPOINTS",
  "QUEUED_EXECUTING",
]);
const BLOCKED: ReadonlySet<ExecutionStatus> = new Set<ExecutionStatus>(["EXECUTING_WITH_WAITPOINTS", "QUEUED_EXECUTING", "SUSPENDED"]);

export interface Consequences {
  readonly slot: "take" | "free" | "keep";
  readonly ready: "enter" | "leave" | "keep";
  readonly parked: "enter" | "leave" | "keep";
  /** The run no longer waits for what it waited for. */
  readonly endsWaits: boolean;
  /** A delay that was not over is over now. */
  readonly endsDelay: boolean;
}

/** Consequences of moving from one status to another; entering is told apart from staying. */
export function consequences(from: ExecutionStatus, to: ExecutionStatus): Consequences {
  return {
    slot: change(HOLDS_SLOT.has(from), HOLDS_SLOT.has(to), "take", "free"),
    ready: change(from === "QUEUED", to === "QUEUED", "enter", "leave"),
    parked: change(from === "RUN_CREATED", to === "RUN_CREATED", "enter", "leave"),
    endsWaits: BLOCKED.has(from) && !BLOCKED.has(to),
    endsDelay: from === "DELAYED" && to !== "DELAYED",
  };
}

function change<In, Out>(was: boolean, is: boolean, entering: In, leaving: Out): In | Out | "keep" {
  if (was === is) return "keep";
  return is ? entering : leaving;
}

/** True in the statuses in which further waits may be added to a run that waits already. */
export function isBlocked(status: ExecutionStatus): boolean {
  return BLOCKED.has(status);
}
