// The laws as they stand in every single state.
import type { State } from "./state.ts";

/** The law that a state breaks, as a sentence; null: none. `isEnd`: nothing follows from it. */
export function brokenBy(state: State, isEnd: boolean): string | null {
  const { intent, original, image, copy, status } = state;
  if (intent !== null && (intent.state === "freezing" || intent.state === "held") && !intent.reported && intent.at < state.knows)
    return "L1: a sandbox is being frozen for a run that is known to have moved on";
  if (copy === "running" && original !== "gone" && original !== "running") return "L5: the image runs while its original stands still";
  if (copy === "running" && original === "running" && !state.accepted) return "L5: the image of a run runs that never slept";
  if (image === "stored" && original !== "gone") return "L5: the image may be restored, and its original exists";
  if (state.restores > 1) return "L6: the image has run twice";
  if (state.linesRun > 1) return "L8: the line behind the wait has run twice";
  if (state.linesRun > 0 && !state.waitIsOver) return "L9: the task went on before its wait was over";
  if (!isEnd) return null;
  if (original === "freezing" || original === "held") return "L4: it ends with a sandbox that stands still";
  if (status !== "FINISHED" && !state.startedOver) return `L9: it ends with a run that is ${status}`;
  return state.startedOver || state.linesRun === 1 ? null : "L8: the run has ended, and its line never ran";
}

/** How it went, for the count of ends. */
export function endOf(state: State): string {
  if (state.startedOver) return "started over";
  if (state.runBy === "original") return "went on in its own sandbox";
  return state.runBy === "copy" ? "slept and went on from its image" : "nowhere";
}
