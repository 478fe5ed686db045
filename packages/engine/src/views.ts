import type { RunStatus, TaskRunError, TimelineEvent } from "@torpor/contracts";

// What the engine shows: runs, tokens, batches, tasks, deployments, queues.

/** Everything that `runs retrieve`, `runs list` and the dashboard show. Ids are friendly. */
export interface RunView {
  readonly id: string;
  readonly status: RunStatus;
  readonly executionStatus: string;
  readonly taskIdentifier: string;
  readonly queueName: string;
  readonly concurrencyKey: string | null;
  readonly version: string | null;
  readonly idempotencyKey: string | null;
  readonly isTest: boolean;
  readonly createdAt: Date;
  readonly updatedAt: Date;
  readonly queuedAt: Date | null;
  readonly startedAt: Date | null;
  readonly completedAt: Date | null;
  readonly delayUntil: Date | null;
  readonly expiredAt: Date | null;
  readonly ttlSeconds: number | null;
  readonly tags: readonly string[];
  readonly attemptNumber: number;
  readonly maxAttempts: number | null;
  readonly machine: string;
  readonly priority: number;
  readonly durationMs: number;
  readonly payload: string | null;
  readonly payloadType: string;
  readonly output: string | null;
  readonly outputType: string | null;
  readonly error: TaskRunError | null;
  readonly metadata: string | null;
  readonly metadataType: string;
  readonly batchId: string | null;
  readonly parentRunId: string | null;
  readonly rootRunId: string | null;
  readonly depth: number;
  readonly triggerFunction: "trigger" | "triggerAndWait" | "batchTrigger" | "batchTriggerAndWait";
}

/** One line of a run's history: engine snapshots, and what nodes told about freezing and restoring, in the order of time. */
export interface TimelineLine extends TimelineEvent {
  readonly source: "engine" | "node";
}

export interface TokenView {
  readonly id: string;
  /** Body of the callback address's hash is made over this. */
  readonly internalId: string;
  readonly status: "WAITING" | "COMPLETED" | "TIMED_OUT";
  readonly createdAt: Date;
  readonly completedAt: Date | null;
  readonly timeoutAt: Date | null;
  readonly idempotencyKey: string | null;
  readonly tags: readonly string[];
  readonly output: string | null;
  readonly outputType: string | null;
  readonly outputIsError: boolean;
}

export interface BatchView {
  readonly id: string;
  readonly status: "PENDING" | "PROCESSING" | "COMPLETED" | "PARTIAL_FAILED" | "ABORTED";
  readonly runCount: number;
  readonly runIds: readonly string[];
  readonly idempotencyKey: string | null;
  readonly createdAt: Date;
  readonly updatedAt: Date;
  readonly completedAt: Date | null;
  readonly errors: readonly { readonly index: number; readonly error: string; readonly code: string | null }[];
}

/** A task of the current deployment. */
export interface TaskView {
  readonly id: string;
  readonly filePath: string;
  readonly exportName: string | null;
  readonly queueName: string;
  readonly machine: string | null;
}

export interface DeploymentView {
  readonly id: string;
  readonly shortCode: string;
  readonly version: string;
  readonly status: "PENDING" | "DEPLOYED" | "FAILED";
  readonly imageReference: string | null;
  readonly contentHash: string;
  readonly isCurrent: boolean;
  readonly createdAt: Date;
  readonly error: string | null;
}

export interface QueueView {
  readonly id: string;
  readonly name: string;
  readonly type: "task" | "custom";
  readonly running: number;
  readonly queued: number;
  readonly paused: boolean;
  readonly concurrencyLimit: number | null;
}

export interface Page<T> {
  readonly items: readonly T[];
  readonly next: string | null;
  readonly previous: string | null;
}
