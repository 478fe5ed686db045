import type { InstanceView, RunExecutionData } from "@torpor/contracts";
import { isExecuting, judgeAcceptance } from "../snapshot/verdict.ts";
import type { Room, Served } from "./runner.ts";

// What to do with a sandbox that is found at the gateway and is not known here. Pure.

/** What was noted beside a sandbox when it was made. */
export interface SandboxNotes {
  readonly runId: string;
  readonly snapshotId: string;
  readonly lineage: readonly string[];
  readonly attemptNumber: number | null;
  readonly room: Room;
  readonly isRestored: boolean;
  /** It was made ready before its run's wait had ended. */
  readonly isAhead: boolean;
  readonly serves?: Served | undefined;
}

/** The notes of a sandbox; null when it is not one of a supervisor's. */
export function readNotes(instance: Pick<InstanceView, "metadata">): SandboxNotes | null {
  const text = (key: string): string | undefined => (typeof instance.metadata[key] === "string" ? instance.metadata[key] : undefined);
  const runId = text("TRIGGER_RUN_ID");
  const snapshotId = text("TRIGGER_SNAPSHOT_ID");
  if (runId === undefined || snapshotId === undefined) return null;
  return {
    runId,
    snapshotId,
    lineage: (text("TORPOR_LINEAGE") ?? "").split(",").filter((name) => name !== ""),
    attemptNumber: numberOr(text("TORPOR_ATTEMPT"), null),
    room: { cpu: numberOr(text("TORPOR_CPU"), 0), memoryGib: numberOr(text("TORPOR_MEMORY_GIB"), 0) },
    isRestored: text("TORPOR_ORIGIN") === "restored",
    isAhead: text("TORPOR_ORIGIN") === "ahead",
    serves: servedIn(text),
  };
}

function servedIn(text: (key: string) => string | undefined): Served | undefined {
  const deploymentId = text("TORPOR_DEPLOYMENT");
  const version = text("TORPOR_VERSION");
  const environmentId = text("TORPOR_ENVIRONMENT");
  return deploymentId === undefined || version === undefined || environmentId === undefined
    ? undefined
    : { deploymentId, version, environmentId };
}

export type Adoption =
  /** It executes this run, or is about to. */
  | { readonly kind: "holds" }
  /** It may be idle, or executing a run that it was given while warm: what it says next will tell. */
  | { readonly kind: "unknown" }
  /** It was made ready for a run that has not gone on: destroyed, its memory image may be restored again. */
  | { readonly kind: "remove" }
  /** Its memory image is the run's checkpoint: destroy it (L5). */
  | { readonly kind: "commit"; readonly imageId: string }
  /** Frozen, written, and the run still waits: the platform is told (again). */
  | { readonly kind: "report"; readonly imageId: string; readonly snapshotId: string }
  /** Frozen for a wait that is over, or half written: it goes on, and holds its run if the run is still its own. */
  | { readonly kind: "thaw" };

export function judgeAdoption(
  instance: Pick<InstanceView, "state" | "memoryImageId" | "reservedImageId">,
  notes: SandboxNotes,
  latest: RunExecutionData,
): Adoption {
  const { state, memoryImageId } = instance;
  if (state === "held" && memoryImageId !== null) {
    if (judgeAcceptance(latest, memoryImageId) === "yes") return { kind: "commit", imageId: memoryImageId };
    if (latest.snapshot.executionStatus === "EXECUTING_WITH_WAITPOINTS")
      return { kind: "report", imageId: memoryImageId, snapshotId: latest.snapshot.friendlyId };
    return { kind: "thaw" };
  }
  if (state === "held" || state === "freezing") return { kind: "thaw" };
  // Of one that is still being made ready ahead the image is not reserved yet, and will be
  if (instance.reservedImageId != null || (notes.isAhead && state === "starting")) return { kind: "remove" };
  return holdsRun(notes, latest) ? { kind: "holds" } : { kind: "unknown" };
}

/** Whether the run is surely this sandbox's. A later attempt may be its own too, or another's: then it is not sure. */
export function holdsRun(notes: SandboxNotes, latest: RunExecutionData): boolean {
  if (latest.snapshot.executionStatus === "PENDING_EXECUTING") return latest.snapshot.friendlyId === notes.snapshotId;
  return isExecuting(latest) && (notes.attemptNumber === null || latest.run.attemptNumber === notes.attemptNumber);
}

function numberOr<T>(text: string | undefined, fallback: T): number | T {
  const value = Number(text);
  return text === undefined || text === "" || !Number.isFinite(value) ? fallback : value;
}
