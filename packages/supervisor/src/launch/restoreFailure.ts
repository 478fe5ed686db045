import type { PlaceFailure, Placement } from "./placer.ts";
import type { RestoreResult } from "./restorer.ts";

/**
 * What becomes of a run that could not be restored. Images are on one node: whoever never had this one (`isStrange`) gives the run
 * back once, since the node that has it may be the next to ask.
 */
export function restoreFailure({ reason, message }: Placement & { kind: "failed" }, isStrange: boolean): RestoreResult {
  const isElsewhere = reason === "memory_image_gone" && isStrange;
  return {
    kind: "failed",
    outcome: isFinal(reason) && !isElsewhere ? "fail" : "requeue",
    reason: isElsewhere ? "memory_image_elsewhere" : reason,
    message,
  };
}

function isFinal(reason: PlaceFailure): boolean {
  return reason === "memory_image_gone" || reason === "memory_image_refused" || reason === "gateway_refused";
}
