// The small core as one plain value: one run, its sandbox, the one it is restored into, one intent, one memory image.
import type { ExecutionStatus, InstanceState } from "@torpor/contracts";
import type { IMAGE_TRANSITIONS } from "@torpor/gateway";
import type { IntentState } from "@torpor/supervisor";

export type ImagePhase = keyof typeof IMAGE_TRANSITIONS | "none";

/** What is on its way, each at most once. */
export type Message =
  | "check?"
  | "checked"
  | "snapshot?"
  | "written"
  | "failed"
  | "cancel?"
  | "report?"
  | "accepted"
  | "refused"
  | "answer lost"
  | "commit?"
  | "committed"
  | "stale"
  | "abort?"
  | "restore?"
  | "restored"
  | "image gone"
  | "continue?";

export interface State {
  /** The engine. `seq` names the latest snapshot. */
  readonly status: ExecutionStatus;
  readonly seq: number;
  readonly accepted: boolean;
  readonly waitIsOver: boolean;
  readonly startedOver: boolean;
  /** The supervisor. */
  readonly isUp: boolean;
  readonly intent: { readonly state: IntentState; readonly at: number; readonly reported: boolean } | null;
  /** The newest snapshot that it knows of. */
  readonly knows: number;
  /** What the last look at the platform showed. */
  readonly looked: { readonly seq: number; readonly status: ExecutionStatus } | null;
  readonly handedOut: number | null;
  /** The gateway. */
  readonly original: InstanceState;
  readonly image: ImagePhase;
  readonly copy: "none" | "running" | "gone";
  readonly restores: number;
  /** The runners: what they have seen, and whether the line behind the wait has run. */
  readonly originalSaw: number;
  readonly copySaw: number;
  readonly linesRun: number;
  readonly runBy: "original" | "copy" | null;
  readonly messages: readonly Message[];
  /** What may still happen: one wake, one crash, one lost answer. */
  readonly crashesLeft: number;
  readonly lossesLeft: number;
}

/** A run that has just begun to wait, and whose runner has asked to be put to sleep. */
export const FIRST: State = {
  status: "EXECUTING_WITH_WAITPOINTS",
  seq: 1,
  accepted: false,
  waitIsOver: false,
  startedOver: false,
  isUp: true,
  intent: { state: "scheduled", at: 1, reported: false },
  knows: 1,
  looked: null,
  handedOut: null,
  original: "running",
  image: "none",
  copy: "none",
  restores: 0,
  originalSaw: 1,
  copySaw: 1,
  linesRun: 0,
  runBy: null,
  messages: [],
  crashesLeft: 1,
  lossesLeft: 1,
};

export function has(state: State, message: Message): boolean {
  return state.messages.includes(message);
}

export function send(state: State, ...messages: readonly Message[]): State {
  return { ...state, messages: [...new Set([...state.messages, ...messages])].toSorted() };
}

export function take(state: State, message: Message): State {
  return { ...state, messages: state.messages.filter((one) => one !== message) };
}
