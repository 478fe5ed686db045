// The life of a wish to put a waiting run to sleep.
//
// An intent is {run, runner, engine snapshot}. It dies as soon as one of the three is not what it was (L1), in whatever
// state it is. This table is the whole life; nobody else writes the state, and the diagram in the docs is printed from it.
//
//   scheduled  waits for its time in the timer wheel
//   due        waits for its turn behind the limit on freezes at once
//   checking   asks the platform whether the run still waits at that very snapshot, and waits for quiet
//   freezing   the gateway freezes the sandbox and writes its memory
//   held       the files are whole, the sandbox stands still until the platform has decided (L5)
//   accepted   the platform has the checkpoint: the sandbox is being destroyed
//
// Ends: `destroyed` (asleep), `canceled` (before anything was frozen), `thawed` (canceled after that: the task goes on in
// the same process, L4), `refused` (the platform's word), `failed` (ours or the gateway's fault; tried again later).

export type IntentEnd = "destroyed" | "canceled" | "thawed" | "refused" | "failed";
export type IntentState = "scheduled" | "due" | "checking" | "freezing" | "held" | "accepted" | IntentEnd;
export type IntentEvent = "come_due" | "postpone" | "check" | "freeze" | "hold" | "accept" | "refuse" | "destroy" | "cancel" | "fail";

export const INTENT_TRANSITIONS: Readonly<Record<IntentState, Readonly<Partial<Record<IntentEvent, IntentState>>>>> = {
  scheduled: { come_due: "due", cancel: "canceled" },
  due: { check: "checking", postpone: "scheduled", cancel: "canceled", fail: "failed" },
  checking: { freeze: "freezing", cancel: "canceled", fail: "failed" },
  freezing: { hold: "held", cancel: "thawed", fail: "failed" },
  held: { accept: "accepted", refuse: "refused", cancel: "thawed", fail: "failed" },
  accepted: { destroy: "destroyed" },
  destroyed: {},
  canceled: {},
  thawed: {},
  refused: {},
  failed: {},
};

/** The state that an event leads to. Throws when the table has no such step. */
export function nextIntentState(from: IntentState, event: IntentEvent): IntentState {
  const to = INTENT_TRANSITIONS[from][event];
  if (to === undefined) throw new Error(`Cannot ${event} an intent that is ${from}`);
  return to;
}

/** True when nothing can happen to it any more. */
export function hasEnded(state: IntentState): state is IntentEnd {
  return Object.keys(INTENT_TRANSITIONS[state]).length === 0;
}

/**
 * Why an intent was cancelled.
 * - `resumed`: the wait ended while the process lived
 * - `completed`, `continued`, `started`: the runner did that
 * - `superseded`: the run has a newer engine snapshot of another kind
 * - `runner_ended`: the runner exited, crashed or fell silent
 * - `reassigned`: the run was given to another runner
 * - `shutdown`: this supervisor stops; the next one arms it again
 */
export type CancelReason = "resumed" | "completed" | "continued" | "started" | "superseded" | "runner_ended" | "reassigned" | "shutdown";

/** Why one failed. All but the last two are tried again, later and later. */
export type FailReason =
  | "platform_unreachable"
  | "gateway_unreachable"
  | "gateway_busy"
  | "queue_full"
  | "runner_busy"
  | "timed_out"
  | "no_room"
  | "disk_full"
  | "quota_exceeded"
  | "checkpoint_failed"
  | "hold_lost"
  | "outcome_unknown"
  | "interrupted"
  | "internal"
  | "sandbox_gone"
  | "not_supported";

/** The table as a Mermaid state diagram, for the docs. */
export function printLifeCycle(): string {
  const steps = Object.entries(INTENT_TRANSITIONS).flatMap(([from, events]) =>
    Object.entries(events).map(([event, to]) => `  ${from} --> ${to}: ${event}`),
  );
  const ends = Object.keys(INTENT_TRANSITIONS)
    .filter((state) => hasEnded(state as IntentState))
    .map((state) => `  ${state} --> [*]`);
  return ["stateDiagram-v2", "  [*] --> scheduled", ...steps, ...ends].join("\n");
}
