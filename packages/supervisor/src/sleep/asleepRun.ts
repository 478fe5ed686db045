import type { Room, Runner } from "../runners/runner.ts";

/** What is kept of a run that fell asleep here, to make it ready again. */
export interface AsleepRun {
  readonly runId: string;
  readonly imageId: string;
  /** The engine snapshot at which it waits. */
  readonly snapshotId: string;
  readonly taskId: string | null;
  readonly attemptNumber: number | null;
  readonly room: Room;
  /** Names that its runner has had. */
  readonly lineage: readonly string[];
  readonly serves: Runner["serves"];
  /** Wall time. */
  readonly endsAtMs: number;
}
