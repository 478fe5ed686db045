// What a runner has in memory: plain data, because it is written to disk and read back in a freeze.

export interface ExecutionMemory {
  readonly runId: string;
  /** Index of the run's plan: the task's code. */
  readonly plan: number;
  readonly startSnapshotId: string;
  readonly isWarmStart: boolean;
  snapshotId: string;
  status: string;
  attempt: number | null;
  stage: "starting" | "executing" | "completing" | "between_attempts";
  /** Where in its steps the task is. */
  position: number;
  waitpointId: string | null;
  resolved: string[];
  suspendable: boolean;
  suspendAskedAt: string | null;
  completion: Readonly<Record<string, unknown>> | null;
}

export interface Seen {
  readonly snapshotId: string;
  readonly status: string;
  readonly waitpointIds: readonly string[];
}

export type CallKind = "start" | "complete" | "heartbeat" | "since" | "suspend" | "continue" | "env" | "wait" | "connect" | "poll";

export interface CallMemory {
  readonly kind: CallKind;
  readonly at: { readonly runId: string; readonly snapshotId: string };
  readonly body: unknown;
  /** What the answer is for, where a kind has several uses. */
  readonly purpose: string;
  tries: number;
}

export interface RunnerMemory {
  /** In the headers of its calls. */
  runnerId: string;
  /** What it compares `/env` with, to know whether it was restored. */
  knownRunnerId: string;
  /** In the handshake of its socket, for ever. */
  readonly handshakeId: string;
  readonly controllerId: string;
  readonly warmStarts: boolean;
  mode: "booting" | "executing" | "idle" | "exited";
  execution: ExecutionMemory | null;
  /** What its serial queue is at; everything else waits. */
  busy: "flush" | "suspend" | "env" | "restore" | null;
  waiting: Seen[];
  /** Due times while it runs; what is left of them while it does not. */
  timers: Record<string, number>;
  calls: Record<string, CallMemory>;
  idleUntilMs: number;
  hasSocket: boolean;
}

export function bornMemory(env: Readonly<Record<string, string>>, controllerId: string): RunnerMemory {
  const runnerId = env["TRIGGER_RUNNER_ID"] ?? "";
  return {
    runnerId,
    knownRunnerId: runnerId,
    handshakeId: runnerId,
    controllerId,
    warmStarts: env["TRIGGER_WARM_START_URL"] !== undefined,
    mode: "booting",
    execution: null,
    busy: null,
    waiting: [],
    timers: {},
    calls: {},
    idleUntilMs: 0,
    hasSocket: false,
  };
}

/** A run that was just taken. */
export function begunExecution(begun: Pick<ExecutionMemory, "runId" | "snapshotId" | "isWarmStart" | "plan">): ExecutionMemory {
  return {
    ...begun,
    startSnapshotId: begun.snapshotId,
    status: "PENDING_EXECUTING",
    attempt: null,
    stage: "starting",
    position: 0,
    waitpointId: null,
    resolved: [],
    suspendable: false,
    suspendAskedAt: null,
    completion: null,
  };
}

/** What its calls are about. */
export function placeOf({ execution }: RunnerMemory): { runId: string; snapshotId: string } {
  return { runId: execution?.runId ?? "", snapshotId: execution?.snapshotId ?? "" };
}
