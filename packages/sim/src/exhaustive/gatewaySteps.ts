// What the gateway does. Sandbox and image move by its own tables alone.
import { IMAGE_TRANSITIONS, SANDBOX_TRANSITIONS } from "@torpor/gateway";
import { has, send, take, type ImagePhase, type State } from "./state.ts";
import type { Step } from "./explore.ts";

type SandboxEvent = "freeze" | "hold" | "thaw" | "end";
type ImageEvent = "hold" | "commit" | "store" | "consume" | "giveBack";

function sandboxTo(state: State, event: SandboxEvent): State["original"] | null {
  return SANDBOX_TRANSITIONS[state.original][event] ?? null;
}

function imageTo(image: ImagePhase, event: ImageEvent): ImagePhase | null {
  return image === "none" ? null : (IMAGE_TRANSITIONS[image][event] ?? null);
}

export function* gatewaySteps(state: State): Generator<Step> {
  if (has(state, "snapshot?")) yield { name: "the gateway freezes the sandbox", next: freeze(state) };
  if (state.original === "freezing") yield { name: "its memory is whole", next: written(state) };
  if (state.original === "held" && state.image === "held") yield { name: "the hold's deadline passes", next: thaw(state) };
  if (has(state, "cancel?")) yield { name: "the gateway is told to cancel", next: undo(take(state, "cancel?")) };
  if (has(state, "abort?")) yield { name: "the gateway is told to abort", next: undo(take(state, "abort?")) };
  if (has(state, "commit?")) yield { name: "the gateway is told to commit", next: commit(take(state, "commit?")) };
  if (state.image === "committing" && state.original === "gone") {
    const image = imageTo(state.image, "store");
    if (image !== null) yield { name: "the image may be restored", next: send({ ...state, image }, "committed") };
  }
  if (has(state, "restore?") && state.image !== "held" && state.image !== "committing" && state.image !== "writing")
    yield { name: "the gateway is told to restore", next: restore(take(state, "restore?")) };
  if (state.crashesLeft > 0) yield { name: "the gateway is killed and starts again", next: restarted(state) };
}

function freeze(state: State): State {
  const rest = take(state, "snapshot?");
  const original = sandboxTo(state, "freeze");
  return original === null ? send(rest, "failed") : { ...rest, original, image: "writing" };
}

function written(state: State): State {
  const [original, image] = [sandboxTo(state, "hold"), imageTo(state.image, "hold")];
  return original === null || image === null ? state : send({ ...state, original, image }, "written");
}

function thaw(state: State): State {
  const original = sandboxTo(state, "thaw");
  return original === null ? state : { ...state, original, image: "none" };
}

/** Ends a freeze in flight, or a hold; otherwise nothing. */
function undo(state: State): State {
  if (state.original === "freezing") return send(thaw(state), "failed");
  return state.original === "held" && state.image === "held" ? thaw(state) : state;
}

/** The original first (L5). */
function commit(state: State): State {
  if (state.image !== "held") return state.image === "none" ? send(state, "stale") : send(state, "committed");
  const [image, original] = [imageTo(state.image, "commit"), sandboxTo(state, "end")];
  return image === null || original === null ? send(state, "stale") : { ...state, image, original };
}

function restore(state: State): State {
  const image = imageTo(state.image, "consume");
  if (image === null) return send(state, "image gone");
  return send({ ...state, image: "none", copy: "running", restores: state.restores + 1, copySaw: 1 }, "restored");
}

/** Half-written memory is deleted and its sandbox goes on; what is held stays so; a commit is finished. */
function restarted(state: State): State {
  const next = { ...state, crashesLeft: state.crashesLeft - 1 };
  if (state.original === "freezing") return send(thaw(next), "failed");
  return next;
}
