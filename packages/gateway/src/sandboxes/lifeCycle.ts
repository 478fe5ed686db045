// The life of a sandbox, and that of a memory image, as tables. Nobody else decides what follows what.
import { TorporError, type InstanceState } from "@torpor/contracts";

export type SandboxEvent = "started" | "freeze" | "hold" | "keep" | "thaw" | "end";

/**
 * - `starting`  its files are being made ready; nothing of it may be relied on
 * - `running`   its processes run
 * - `freezing`  it stands still, or is about to, and its memory is being written
 * - `held`      it stands still, its memory is on disk, and somebody else decides: `end` (commit) or `thaw` (abort, deadline)
 * - `kept`      it stands still and is nobody's: whoever restores its memory image gets it, and it ends when its memory is needed
 * - `gone`      nothing of it is left, or will be left in a moment
 */
export const SANDBOX_TRANSITIONS: Readonly<Record<InstanceState, Partial<Readonly<Record<SandboxEvent, InstanceState>>>>> = {
  starting: { started: "running", end: "gone" },
  running: { freeze: "freezing", end: "gone" },
  freezing: { hold: "held", thaw: "running", end: "gone" },
  held: { thaw: "running", keep: "kept", end: "gone" },
  kept: { thaw: "running", end: "gone" },
  gone: {},
};

/** The state after `event`; throws when the table does not have it. */
export function nextSandboxState(from: InstanceState, event: SandboxEvent): InstanceState {
  const to = SANDBOX_TRANSITIONS[from][event];
  if (to === undefined) throw new TorporError("internal", `Cannot ${event} a sandbox that is ${from}`);
  return to;
}

export type ImagePhase = "writing" | "held" | "committing" | "stored" | "reserved" | "consumed" | "refused";
export type ImageEvent = "hold" | "store" | "commit" | "reserve" | "consume" | "giveBack" | "refuse";

/**
 * - `writing`     half there; a crash deletes it
 * - `held`        whole, on disk; a crash after its deadline deletes it
 * - `committing`  its sandbox is being destroyed; a crash finishes that (L5)
 * - `stored`      may be restored, once
 * - `reserved`    was restored ahead of time: deleted when its run goes on, restorable again when its sandbox ends before that
 * - `consumed`    is being restored, or was; deleted as soon as that is known (L6, L7)
 * - `refused`     damaged, or of another machine: nobody can restore it, and it is deleted (L7)
 */
export const IMAGE_TRANSITIONS: Readonly<Record<ImagePhase, Partial<Readonly<Record<ImageEvent, ImagePhase>>>>> = {
  writing: { hold: "held", store: "stored" },
  held: { commit: "committing" },
  committing: { store: "stored" },
  stored: { consume: "consumed", reserve: "reserved", refuse: "refused" },
  reserved: { giveBack: "stored", consume: "consumed" },
  consumed: { giveBack: "stored" },
  refused: {},
};
