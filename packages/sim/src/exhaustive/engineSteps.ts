// What the engine and the runners do. The engine moves by its own table alone.
import { nextStep, type RunEvent } from "@torpor/engine/rules";
import { has, send, take, type State } from "./state.ts";
import type { Step } from "./explore.ts";

/** Null when the table has no such step. */
function advance(state: State, event: RunEvent): State | null {
  const step = nextStep(state.status, event);
  return step === undefined ? null : { ...state, status: step.to, seq: state.seq + 1 };
}

export function* engineSteps(state: State): Generator<Step> {
  if (!state.waitIsOver) yield { name: "the wait ends", next: { ...state, waitIsOver: true } };
  if (state.waitIsOver && !has(state, "report?")) {
    const resumed = state.status === "EXECUTING_WITH_WAITPOINTS" || state.status === "SUSPENDED" ? advance(state, "resume") : null;
    if (resumed !== null) yield { name: "the run is resumed", next: resumed };
  }
  if (has(state, "report?")) yield { name: "the platform takes the report", next: reported(state) };
  if (state.status === "QUEUED" && state.isUp && !state.startedOver) {
    const handed = advance(state, "dequeue");
    if (handed !== null) yield { name: "the run is handed out", next: { ...handed, handedOut: handed.seq } };
  }
  if (has(state, "continue?")) yield { name: "the run is continued", next: continued(take(state, "continue?")) };
  if (state.status === "PENDING_EXECUTING" && state.handedOut === null && state.copy !== "running") {
    const back = advance(state, "giveBack");
    if (back !== null) yield { name: "a hand-out that nobody knows of is given back", next: back };
  }
  yield* runnerSteps(state);
}

/** Only the latest snapshot sleeps. */
function reported(state: State): State {
  const rest = take(state, "report?");
  const isLatest = state.intent?.at === state.seq || state.seq === 1;
  const suspended = isLatest && state.image !== "none" ? advance(rest, "suspend") : null;
  if (suspended === null) return send(rest, "refused");
  return send({ ...suspended, accepted: true }, "accepted");
}

function continued(state: State): State {
  return advance(state, "continue") ?? state;
}

function* runnerSteps(state: State): Generator<Step> {
  const { original, copy, status, seq } = state;
  if (original === "running" && state.originalSaw < seq) yield { name: "the original looks", next: originalLooks(state) };
  if (copy === "running" && state.copySaw < seq && status === "EXECUTING")
    yield { name: "the copy looks", next: { ...state, copySaw: seq, linesRun: state.linesRun + 1, runBy: "copy" } };
  if (copy === "running" && status === "PENDING_EXECUTING" && state.handedOut === null)
    yield { name: "the copy continues by itself", next: continued(state) };
  const finished = state.linesRun > 0 && status === "EXECUTING" ? advance(state, "finish") : null;
  if (finished !== null) yield { name: "the run completes", next: { ...finished, knows: finished.seq, intent: null } };
  if (status === "FINISHED" && original === "running") yield { name: "the original exits", next: { ...state, original: "gone" } };
  if (status === "FINISHED" && copy === "running") yield { name: "the copy exits", next: { ...state, copy: "gone" } };
}

/** A live runner goes on when its run executes again, and leaves when it sees that the run sleeps. */
function originalLooks(state: State): State {
  const saw = { ...state, originalSaw: state.seq };
  if (state.status === "EXECUTING" && state.runBy === null && !state.accepted)
    return { ...saw, linesRun: state.linesRun + 1, runBy: "original" };
  return state.status === "EXECUTING_WITH_WAITPOINTS" ? saw : { ...saw, original: "gone" };
}
