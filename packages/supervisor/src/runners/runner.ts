/** The machine that a runner was given: vCPUs and GiB. Zero when nobody told us (a runner that another node made). */
export interface Room {
  readonly cpu: number;
  readonly memoryGib: number;
}

/** Whose runs a runner may execute: it was made for this version, in this environment, and for no other. */
export interface Served {
  readonly deploymentId: string;
  readonly version: string;
  readonly environmentId: string;
}

/**
 * Where a runner's sandbox is in its life, as far as this node knows.
 * `starting`: asked for, not yet there. `frozen`: its memory is being written, or was, and nobody hears from it meanwhile.
 */
export type RunnerPhase = "starting" | "running" | "frozen";

export interface RunnerFacts {
  /** Name of the sandbox at the gateway, and the runner's id on the wire. */
  readonly name: string;
  readonly room: Room;
  /** Names it had before it was restored: sockets keep saying the first one. */
  readonly lineage: readonly string[];
  /** Snapshot that it was restored for; what its history says before that is no news to it. */
  readonly restoredAt: string | null;
  /** Found at a start of this process; what it asked for before is not known. */
  readonly adopted: boolean;
  readonly attemptNumber: number | null;
  /** Undefined when nobody told us: then it is not given another run. */
  readonly serves?: Served | undefined;
}

/** A runner that waits to be called. */
export interface Ahead {
  readonly called: Promise<void>;
  readonly call: () => void;
  /** It has ended its run by itself before it was called: it will not go on. */
  hasLeft: boolean;
  /** Its memory image is being deleted, or is: it is called in a moment, and nobody else could go on in its place. */
  isClaimed: boolean;
  /** The engine snapshot at which it fell asleep: what it says of an earlier one is a late word. */
  readonly sleptAt: string;
  /** When its sandbox ran (monotonic); null: not yet. */
  readyMs: number | null;
}

/** What the platform has to tell a runner that it has just continued. */
export interface FirstNews {
  /** Answer to `since`. */
  readonly body: unknown;
  readonly snapshotId: string;
  /** Monotonic. */
  readonly knownMs: number;
}

/** The newest engine snapshot that the runner knows for certain, or was made for. */
export function lastSeenAt(runner: Pick<Runner, "snapshotId" | "restoredAt">): string | null {
  const { snapshotId, restoredAt } = runner;
  return snapshotId === null || (restoredAt !== null && restoredAt > snapshotId) ? restoredAt : snapshotId;
}

/** Nothing is known of it but its own words: not what it was made for, nor whether it was restored. */
export function isHearsay({ adopted, instanceId, ahead }: Pick<Runner, "adopted" | "instanceId" | "ahead">): boolean {
  return adopted && instanceId === null && ahead === null;
}

/** One runner. Plain facts that the registry and the workload server keep up to date; no rule lives here. */
export class Runner {
  readonly name: string;
  room: Room;
  lineage: readonly string[];
  restoredAt: string | null;
  readonly adopted: boolean;
  serves: Served | undefined;
  attemptNumber: number | null;
  /** The task that its run is of; null until its start was answered, and after some restarts of this process. */
  taskId: string | null = null;
  phase: RunnerPhase = "running";
  instanceId: string | null = null;
  address: string | null = null;
  runId: string | null = null;
  /** It has held a run already: what it was made with was about that one. */
  hadRun = false;
  /** The last run of which the platform has let it begin an attempt. */
  begunRunId: string | null = null;
  /** Since when it waits for another run (monotonic); null when it does not. */
  idleSinceMs: number | null = null;
  /** Runs that were taken away from it: its late calls about them are passed on, so that it learns so. */
  readonly formerRunIds = new Set<string>();
  /** The latest engine snapshot that it has named itself. */
  snapshotId: string | null = null;
  /** Its completion is on the way: it has done with the run and is not to be disturbed. */
  completing = false;
  /** Monotonic. */
  readonly createdMs: number;
  heardMs: number;
  socketLostMs: number | null = null;
  /** It had a socket before: whatever was pushed in between was lost. */
  hadSocket = false;
  /** Until when its first look at a run's history is held back, while we continue the run for it. */
  continued: Promise<void> | null = null;
  /** It was made ready before its run's wait has ended: its run is not its own yet, and it is told nothing new until then. */
  ahead: Ahead | null = null;
  /** What its first look at its run's history would find; null when that must be asked. */
  firstNews: FirstNews | null = null;
  /** When its wake was decided (monotonic); null once it was heard, or when it was not woken. */
  wakeAskedMs: number | null = null;

  constructor(facts: RunnerFacts, nowMs: number) {
    this.name = facts.name;
    this.room = facts.room;
    this.lineage = facts.lineage;
    this.restoredAt = facts.restoredAt;
    this.adopted = facts.adopted;
    this.serves = facts.serves;
    this.attemptNumber = facts.attemptNumber;
    this.createdMs = nowMs;
    this.heardMs = nowMs;
  }
}
