import type {
  AttemptStatus,
  BaseRun,
  CheckpointInput,
  CompleteResult,
  DequeuedMessage,
  ExecutionResult,
  RestoreOutcomeBody,
  RunExecutionData,
  RunStatus,
  StartResult,
  TaskRunExecutionResult,
  TimelineEvent,
} from "@torpor/contracts";
import type {
  BatchItem,
  DeploymentInput,
  DequeueOptions,
  EnvironmentRef,
  MetadataChange,
  PageRequest,
  RunFilter,
  TriggerOptions,
  WorkerRef,
} from "./requests.ts";
import type { BatchView, DeploymentView, Page, QueueView, RunView, TaskView, TimelineLine, TokenView } from "./views.ts";

export type * from "./requests.ts";
export type * from "./views.ts";

// What the engine offers to the platform. Every operation is one transaction. Expected refusals are values.

/** A refusal that the caller can mend; the http layer knows the status of each code. */
export interface Refusal {
  readonly kind: "refused";
  readonly code:
    | "not_found"
    | "request_invalid"
    | "request_unprocessable"
    | "snapshot_stale"
    | "snapshot_mismatch"
    | "run_finished"
    | "body_too_large";
  /** Names the field, the value, and what to do. */
  readonly message: string;
  readonly param?: string;
}

export type TriggerOutcome = { readonly kind: "triggered"; readonly runId: string; readonly isCached: boolean } | Refusal;

export type SuspensionOutcome =
  | { readonly kind: "accepted"; readonly checkpointId: string }
  /** The run has moved on: the memory image is of no use and must be deleted. */
  | { readonly kind: "discarded"; readonly reason: string }
  | { readonly kind: "noted" }
  | Refusal;

/** Calls of SDK users, scoped to an environment. */
export interface EngineForEnvironment {
  trigger(env: EnvironmentRef, task: string, options: TriggerOptions): Promise<TriggerOutcome>;
  cancelRun(
    env: EnvironmentRef,
    runId: string,
    reason: string,
  ): Promise<{ readonly kind: "canceled"; readonly alreadyFinished: boolean } | Refusal>;
  rescheduleRun(env: EnvironmentRef, runId: string, delayUntil: Date): Promise<{ readonly kind: "rescheduled" } | Refusal>;
  getRun(env: EnvironmentRef, runId: string): Promise<RunView | null>;
  childrenOf(env: EnvironmentRef, runId: string): Promise<readonly RunView[]>;
  listRuns(env: EnvironmentRef, filter: RunFilter, page: PageRequest): Promise<Page<RunView>>;
  timeline(env: EnvironmentRef, runId: string): Promise<readonly TimelineLine[] | null>;
  addTags(env: EnvironmentRef, runId: string, tags: readonly string[]): Promise<{ readonly kind: "added" } | Refusal>;
  /** Replaces metadata, or applies operations (set, delete, append, remove, increment, update) to it, its parent's and its root's. */
  updateMetadata(
    env: EnvironmentRef,
    runId: string,
    change: MetadataChange,
  ): Promise<{ readonly kind: "updated"; readonly metadata: Record<string, unknown> } | Refusal>;
  resetIdempotencyKey(env: EnvironmentRef, task: string, key: string): Promise<{ readonly kind: "reset" } | Refusal>;

  waitUntil(
    env: EnvironmentRef,
    runId: string,
    wait: { readonly date: Date; readonly idempotencyKey?: string; readonly idempotencyKeyExpiresAt?: Date },
  ): Promise<{ readonly kind: "waiting"; readonly waitpointId: string; readonly waitUntil: Date } | Refusal>;
  createToken(
    env: EnvironmentRef,
    token: {
      readonly timeoutAt?: Date;
      readonly idempotencyKey?: string;
      readonly idempotencyKeyExpiresAt?: Date;
      readonly tags?: readonly string[];
    },
  ): Promise<{ readonly kind: "created"; readonly token: TokenView; readonly isCached: boolean } | Refusal>;
  waitForToken(env: EnvironmentRef, runId: string, tokenId: string): Promise<{ readonly kind: "waiting" } | Refusal>;
  /** Completing what is complete succeeds and changes nothing. */
  completeToken(
    env: EnvironmentRef,
    tokenId: string,
    output: { readonly data?: string; readonly dataType?: string; readonly isError?: boolean },
  ): Promise<{ readonly kind: "completed"; readonly already: boolean } | Refusal>;
  getToken(env: EnvironmentRef, tokenId: string): Promise<TokenView | null>;
  listTokens(
    env: EnvironmentRef,
    filter: { readonly statuses?: readonly TokenView["status"][]; readonly tags?: readonly string[] },
    page: PageRequest,
  ): Promise<Page<TokenView>>;

  createBatch(
    env: EnvironmentRef,
    batch: {
      readonly runCount: number;
      readonly parentRunId?: string;
      readonly resumeParentOnCompletion?: boolean;
      readonly idempotencyKey?: string;
      readonly idempotencyKeyExpiresAt?: Date;
    },
  ): Promise<{ readonly kind: "created"; readonly batchId: string; readonly isCached: boolean; readonly runCount: number } | Refusal>;
  /** An index that was taken before is counted as a duplicate and changes nothing. An item that cannot be triggered becomes a failed run. */
  addBatchItem(env: EnvironmentRef, batchId: string, item: BatchItem): Promise<{ readonly kind: "accepted" | "duplicate" } | Refusal>;
  /** Says that all items were sent; `sealed` is false when fewer have arrived than were announced. */
  sealBatch(
    env: EnvironmentRef,
    batchId: string,
  ): Promise<{ readonly kind: "counted"; readonly sealed: boolean; readonly itemCount: number; readonly expectedCount: number } | Refusal>;
  getBatch(env: EnvironmentRef, batchId: string): Promise<BatchView | null>;

  listQueues(env: EnvironmentRef, page: PageRequest): Promise<Page<QueueView>>;
  getQueue(env: EnvironmentRef, queue: { readonly by: "id" | "task" | "custom"; readonly name: string }): Promise<QueueView | null>;
  updateQueue(
    env: EnvironmentRef,
    queueId: string,
    change: { readonly paused?: boolean; readonly concurrencyLimit?: number | "default" },
  ): Promise<QueueView | null>;

  setEnvVars(env: EnvironmentRef, variables: Readonly<Record<string, string>>, override: boolean): Promise<void>;
  getEnvVars(env: EnvironmentRef): Promise<Readonly<Record<string, string>>>;
  deleteEnvVar(env: EnvironmentRef, name: string): Promise<boolean>;

  /** Stores a version with its tasks and queues and makes it the current one. Runs that waited for it are queued (PENDING_VERSION). */
  deploy(env: EnvironmentRef, deployment: DeploymentInput): Promise<DeploymentView>;
  listDeployments(env: EnvironmentRef, page: PageRequest): Promise<Page<DeploymentView>>;
  currentDeployment(env: EnvironmentRef): Promise<DeploymentView | null>;
  /** Tasks of the current deployment, by id; none when nothing is deployed. */
  listTasks(env: EnvironmentRef): Promise<readonly TaskView[]>;
}

/** Calls of nodes. Each names the snapshot that it believes in; a stale one is refused without effect (L8). */
export interface EngineForWorkers {
  dequeue(worker: WorkerRef, options: DequeueOptions): Promise<readonly DequeuedMessage[]>;
  startAttempt(
    worker: WorkerRef,
    runId: string,
    snapshotId: string,
    options: { readonly isWarmStart: boolean },
  ): Promise<{ readonly kind: "started"; readonly result: StartResult; readonly environment: EnvironmentRef } | Refusal>;
  completeAttempt(
    worker: WorkerRef,
    runId: string,
    snapshotId: string,
    completion: TaskRunExecutionResult,
    options: { readonly forceRequeue: boolean },
  ): Promise<{ readonly kind: "completed"; readonly result: CompleteResult } | Refusal>;
  /** A heartbeat for a snapshot that is no longer the latest is acknowledged and ignored. */
  heartbeat(worker: WorkerRef, runId: string, snapshotId: string): Promise<{ readonly kind: "noted" } | Refusal>;
  latestSnapshot(worker: WorkerRef, runId: string, scope: { readonly environmentId?: string }): Promise<RunExecutionData | null>;
  snapshotsSince(
    worker: WorkerRef,
    runId: string,
    snapshotId: string,
    scope: { readonly environmentId?: string },
  ): Promise<{ readonly kind: "found"; readonly snapshots: readonly RunExecutionData[] } | Refusal>;
  continueRun(
    worker: WorkerRef,
    runId: string,
    snapshotId: string,
  ): Promise<{ readonly kind: "continued"; readonly result: ExecutionResult } | Refusal>;
  completeSuspension(
    worker: WorkerRef,
    runId: string,
    snapshotId: string,
    result: { readonly success: true; readonly checkpoint: CheckpointInput } | { readonly success: false; readonly error: string },
  ): Promise<SuspensionOutcome>;
  restoreOutcome(
    worker: WorkerRef,
    runId: string,
    snapshotId: string,
    outcome: RestoreOutcomeBody,
  ): Promise<{ readonly kind: "noted" } | Refusal>;
  release(
    worker: WorkerRef,
    runId: string,
    snapshotId: string,
    reason: string,
  ): Promise<{ readonly kind: "released"; readonly requeued: boolean } | Refusal>;
  addTimeline(worker: WorkerRef, runId: string, events: readonly TimelineEvent[]): Promise<{ readonly kind: "added" } | Refusal>;
  /** Of these checkpoint locations, those which a run may still be restored from. */
  liveCheckpoints(worker: WorkerRef, locations: readonly string[]): Promise<readonly string[]>;
  touchInstance(worker: WorkerRef, facts: Readonly<Record<string, unknown>>): Promise<void>;
}

/** What the operator and the platform's authentication need. */
export interface EngineForAdmin {
  /** Makes the organization, project and environments when they are not there; idempotent by project ref. */
  ensureProject(project: {
    readonly ref: string;
    readonly name?: string;
  }): Promise<{ readonly environments: readonly (EnvironmentRef & { readonly apiKey: string })[] }>;
  /** Constant work whether the key exists or not: looked up by its sha256. */
  environmentByApiKey(apiKey: string): Promise<EnvironmentRef | null>;
  /** The key in clear, to sign public tokens and callback addresses. */
  apiKeyOf(environmentId: string): Promise<string>;
  environmentById(environmentId: string): Promise<EnvironmentRef | null>;
  ensureWorkerGroup(group: { readonly name: string; readonly token: string }): Promise<{ readonly id: string }>;
  workerGroupByToken(token: string): Promise<{ readonly id: string; readonly name: string; readonly type: string } | null>;
  counts(): Promise<{
    readonly byStatus: Readonly<Partial<Record<RunStatus, number>>>;
    readonly executing: number;
    readonly suspended: number;
    readonly queued: number;
  }>;
  healthy(): Promise<boolean>;
}

/** Tells whoever keeps sockets that a run has something new for its runner. Fed by NOTIFY, so it reaches every platform process. */
export interface RunNotifications {
  /** Called with the friendly id of the run. Returns how to stop listening. */
  onRunChanged(listener: (runId: string) => void): () => void;
  /** Called with the id of an environment that has another current version. Returns how to stop listening. */
  onPromoted(listener: (environmentId: string) => void): () => void;
}

export interface Engine extends EngineForEnvironment, EngineForWorkers, EngineForAdmin, RunNotifications {
  /** Runs migrations, begins to listen and starts the due-time loop. */
  start(): Promise<void>;
  /** Stops the loop, answers waiting dequeues with nothing, closes every connection. Repeatable. */
  close(): Promise<void>;
}

export type { AttemptStatus, BaseRun };
