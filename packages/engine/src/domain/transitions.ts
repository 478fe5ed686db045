import type { ExecutionStatus, RunStatus } from "@torpor/contracts";
import { TorporError } from "@torpor/contracts";

// The life cycle of a run, as one table. Every write of an execution status goes through `transition`.

/** What can happen to a run. */
export type RunEvent =
  /** Its delay is over, or a version that knows its task was deployed. */
  | "enqueue"
  /** No deployed version knows its task or queue. */
  | "park"
  | "dequeue"
  | "start"
  | "continue"
  | "block"
  | "resume"
  | "suspend"
  /** A handed-out run that was never started goes back to the queue as it was. */
  | "giveBack"
  /** Its memory image was refused: the attempt begins anew, without it. */
  | "startOver"
  | "retryNow"
  | "retryLater"
  | "expire"
  | "cancel"
  /** The end, with whatever result. */
  | "finish";

export interface Transition {
  readonly to: ExecutionStatus;
  /** Status of the run; "final" stands for the one that the result says. */
  readonly run: RunStatus | "final";
  /** Status of the run as the snapshot shows it to workers, where it differs. */
  readonly shown?: RunStatus;
  /** The runner is told at once that there is something new. */
  readonly notify?: true;
}

type Row = Readonly<Partial<Record<RunEvent, Transition>>>;

const QUEUED: Transition = { to: "QUEUED", run: "PENDING" };
const RETRY_LATER: Transition = { to: "QUEUED", run: "PENDING" };
const RETRY_NOW: Transition = { to: "EXECUTING", run: "RETRYING_AFTER_FAILURE", shown: "EXECUTING", notify: true };
const SUSPENDED: Transition = { to: "SUSPENDED", run: "WAITING_TO_RESUME" };
const PENDING_CANCEL: Transition = { to: "PENDING_CANCEL", run: "CANCELED", notify: true };
const FINISHED: Transition = { to: "FINISHED", run: "final" };
const EXECUTING: Transition = { to: "EXECUTING", run: "EXECUTING" };
const BLOCKED: Transition = { to: "EXECUTING_WITH_WAITPOINTS", run: "EXECUTING", notify: true };

/** An absent entry is refused. A further wait of a run that waits already changes no status, so it is not here. */
export const TRANSITIONS: Readonly<Record<ExecutionStatus, Row>> = {
  RUN_CREATED: { enqueue: QUEUED, cancel: FINISHED, expire: FINISHED, finish: FINISHED },
  DELAYED: { enqueue: QUEUED, cancel: FINISHED, finish: FINISHED },
  QUEUED: {
    park: { to: "RUN_CREATED", run: "PENDING_VERSION" },
    dequeue: { to: "PENDING_EXECUTING", run: "DEQUEUED", shown: "PENDING" },
    expire: FINISHED,
    cancel: FINISHED,
    finish: FINISHED,
  },
  // Nothing makes this status any more; rows of old versions stay readable and can end.
  QUEUED_EXECUTING: {
    resume: { ...EXECUTING, notify: true },
    suspend: SUSPENDED,
    retryNow: RETRY_NOW,
    retryLater: RETRY_LATER,
    cancel: PENDING_CANCEL,
    finish: FINISHED,
  },
  PENDING_EXECUTING: {
    start: EXECUTING,
    continue: { ...EXECUTING, notify: true },
    giveBack: QUEUED,
    startOver: QUEUED,
    cancel: PENDING_CANCEL,
    finish: FINISHED,
  },
  EXECUTING: {
    // only a snapshot that was made by an immediate retry
    start: EXECUTING,
    block: BLOCKED,
    suspend: SUSPENDED,
    retryNow: RETRY_NOW,
    retryLater: RETRY_LATER,
    cancel: PENDING_CANCEL,
    finish: FINISHED,
  },
  EXECUTING_WITH_WAITPOINTS: {
    resume: { ...EXECUTING, notify: true },
    suspend: SUSPENDED,
    retryNow: RETRY_NOW,
    retryLater: RETRY_LATER,
    cancel: PENDING_CANCEL,
    finish: FINISHED,
  },
  SUSPENDED: { resume: QUEUED, cancel: FINISHED, finish: FINISHED },
  PENDING_CANCEL: { finish: FINISHED },
  FINISHED: {},
};

/** Where the event leads from that status, or undefined when it is refused there. */
export function nextStep(from: ExecutionStatus, event: RunEvent): Transition | undefined {
  return TRANSITIONS[from][event];
}

/** For events that the caller has already found possible; throws when the table says otherwise. */
export function transition(from: ExecutionStatus, event: RunEvent): Transition {
  const step = nextStep(from, event);
  if (step === undefined) throw new TorporError("run_illegal_transition", `Cannot ${event} a run: its execution status is ${from}`);
  return step;
}

/** The table as a mermaid state diagram. */
export function printTransitions(): string {
  const lines = ["stateDiagram-v2", "  [*] --> QUEUED: trigger", "  [*] --> DELAYED: trigger with a delay"];
  for (const [from, row] of Object.entries(TRANSITIONS)) {
    const byTarget = new Map<string, string[]>();
    for (const [event, step] of Object.entries(row)) {
      if (step === undefined) continue;
      byTarget.set(step.to, [...(byTarget.get(step.to) ?? []), event]);
    }
    for (const [to, events] of byTarget) lines.push(`  ${from} --> ${to}: ${events.join(", ")}`);
  }
  return [...lines, "  FINISHED --> [*]", ""].join("\n");
}
