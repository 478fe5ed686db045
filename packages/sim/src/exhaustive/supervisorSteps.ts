// What the supervisor does. The intent moves by its own table alone, and what is known is judged by the real decisions.
import type { RunExecutionData } from "@torpor/contracts";
import { hasEnded, judgeAcceptance, judgeAdoption, judgeWait, nextIntentState, type IntentEvent } from "@torpor/supervisor";
import { has, send, take, type State } from "./state.ts";
import type { Step } from "./explore.ts";

const IMAGE = "mem_1";

/** A run's snapshot as the decisions read it. */
function wire(seq: number, status: State["status"], accepted: boolean): RunExecutionData {
  return {
    version: "1",
    snapshot: { id: idOf(seq), friendlyId: idOf(seq), executionStatus: status, description: "", createdAt: new Date(0) },
    run: { id: "r", friendlyId: "run_1", status: "EXECUTING", attemptNumber: 1 },
    completedWaitpoints: [],
    ...(accepted ? { checkpoint: { id: "c", friendlyId: "checkpoint_1", type: "COMPUTE", location: IMAGE } } : {}),
  };
}

function idOf(seq: number): string {
  return `snapshot_${String(seq).padStart(6, "0")}`;
}

/** Moves the intent; ended ones are forgotten. Throws when the table has no such step. */
function move(state: State, event: IntentEvent, reported = state.intent?.reported ?? false): State {
  if (state.intent === null) throw new Error(`Cannot ${event} an intent: there is none`);
  const to = nextIntentState(state.intent.state, event);
  return { ...state, intent: hasEnded(to) ? null : { ...state.intent, state: to, reported } };
}

export function* supervisorSteps(state: State): Generator<Step> {
  if (!state.isUp) return yield { name: "the supervisor starts again", next: adopt({ ...state, isUp: true }) };
  const { intent } = state;
  if (state.knows < state.seq) yield { name: "the supervisor hears of the newest snapshot", next: observe(state) };
  if (intent?.state === "scheduled") yield { name: "the intent comes due", next: move(state, "come_due") };
  if (intent?.state === "due") yield { name: "the platform is asked", next: send(move(state, "check"), "check?") };
  if (has(state, "check?")) {
    const looked = { seq: state.seq, status: state.status };
    yield { name: "the platform answers", next: send({ ...take(state, "check?"), looked }, "checked") };
  }
  if (has(state, "checked")) yield { name: "its answer is judged", next: judge(take(state, "checked")) };
  if (has(state, "written")) yield { name: "the supervisor hears that the memory is whole", next: held(take(state, "written")) };
  if (has(state, "failed")) yield { name: "the supervisor hears that the freeze failed", next: failed(take(state, "failed")) };
  if (intent?.state === "held" && !intent.reported) yield { name: "it is reported", next: send(mark(state), "report?") };
  yield* answers(state);
  yield* waking(state);
  if (intent === null && state.status === "EXECUTING_WITH_WAITPOINTS" && state.original === "running" && isQuiet(state))
    yield { name: "the intent is armed again", next: { ...state, intent: { state: "scheduled", at: state.seq, reported: false } } };
  if (state.crashesLeft > 0) yield { name: "the supervisor is killed", next: killed(state) };
}

function isQuiet(state: State): boolean {
  return state.messages.length === 0;
}

function mark(state: State): State {
  return { ...state, intent: state.intent === null ? null : { ...state.intent, reported: true } };
}

/** A newer snapshot ends the intent in every state, until the platform was told (L1). */
function observe(state: State): State {
  const next = { ...state, knows: state.seq };
  const { intent } = state;
  if (intent === null || intent.at >= state.seq || intent.state === "accepted" || intent.reported) return next;
  const reachedGateway = intent.state === "freezing" || intent.state === "held";
  const canceled = move(next, "cancel");
  return reachedGateway ? send(canceled, "cancel?") : canceled;
}

function judge(state: State): State {
  const { intent, looked } = state;
  if (intent?.state !== "checking" || looked === null) return { ...state, looked: null };
  const verdict = judgeWait(wire(looked.seq, looked.status, false), idOf(intent.at));
  const next = { ...state, looked: null, knows: Math.max(state.knows, looked.seq) };
  return verdict.kind === "waits" ? send(move(next, "freeze"), "snapshot?") : move(next, "cancel");
}

function held(state: State): State {
  if (state.intent?.state === "freezing") return move(state, "hold");
  return state.intent === null ? send(state, "abort?") : state; // a late copy that nobody wants
}

function failed(state: State): State {
  return state.intent?.state === "freezing" ? move(state, "fail") : state;
}

function* answers(state: State): Generator<Step> {
  const isOurs = state.intent?.state === "held" && state.intent.reported;
  for (const answer of ["accepted", "refused"] as const) {
    if (!has(state, answer)) continue;
    const rest = take(state, answer);
    yield { name: `the report is ${answer}`, next: isOurs ? decided(rest, answer === "accepted") : rest };
    if (state.lossesLeft > 0)
      yield { name: "the answer to the report is lost", next: send({ ...rest, lossesLeft: state.lossesLeft - 1 }, "answer lost") };
  }
  if (has(state, "answer lost")) {
    const rest = take(state, "answer lost");
    const isAccepted = judgeAcceptance(wire(state.seq, state.status, state.accepted), IMAGE) === "yes";
    yield { name: "its latest word is read instead", next: isOurs ? decided(rest, isAccepted) : rest };
  }
  if (has(state, "committed")) yield { name: "the original is destroyed", next: destroyed(take(state, "committed")) };
  // Thawed in the meantime: it must go all the same, because the run will wake elsewhere.
  if (has(state, "stale")) yield { name: "the original is removed", next: destroyed({ ...take(state, "stale"), original: "gone" }) };
}

function decided(state: State, isAccepted: boolean): State {
  return isAccepted ? send(move(state, "accept"), "commit?") : send(move(state, "refuse"), "abort?");
}

function destroyed(state: State): State {
  return state.intent?.state === "accepted" ? move(state, "destroy") : state;
}

function* waking(state: State): Generator<Step> {
  if (state.handedOut === null) return;
  const isAsked = has(state, "restore?") || has(state, "restored") || has(state, "image gone") || has(state, "continue?");
  if (!isAsked && state.copy === "none" && state.intent === null)
    yield { name: "the gateway is asked to restore", next: send(state, "restore?") };
  if (has(state, "restored"))
    yield { name: "the run is to go on", next: send({ ...take(state, "restored"), handedOut: null }, "continue?") };
  if (has(state, "image gone"))
    yield {
      name: "the attempt starts over, with a reason",
      next: { ...take(state, "image gone"), handedOut: null, startedOver: true, status: "QUEUED" },
    };
}

/** Nothing in its memory is left, and nobody hears the answers that were on the way to it. */
function killed(state: State): State {
  const heard = ["checked", "check?", "accepted", "refused", "answer lost", "committed", "stale", "restored", "image gone"] as const;
  const rest = heard.reduce<State>((next, message) => take(next, message), state);
  return { ...rest, isUp: false, intent: null, looked: null, handedOut: null, knows: 0, crashesLeft: state.crashesLeft - 1 };
}

/** What a start finds at the gateway. */
function adopt(state: State): State {
  if (state.original === "gone") return state;
  const notes = { runId: "run_1", snapshotId: idOf(0), lineage: [], attemptNumber: 1, room: { cpu: 1, memoryGib: 1 }, isRestored: false };
  const found = { state: state.original, memoryImageId: state.image === "none" ? null : IMAGE };
  const adoption = judgeAdoption(found as never, notes as never, wire(state.seq, state.status, state.accepted));
  if (adoption.kind === "commit") return send(state, "commit?");
  if (adoption.kind === "thaw") return send(state, "cancel?");
  if (adoption.kind === "report") return { ...state, knows: state.seq, intent: { state: "held", at: state.seq, reported: false } };
  return { ...state, knows: state.seq };
}
