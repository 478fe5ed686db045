import type { MachineName, RunStatus } from "@torpor/contracts";

// What the engine is asked for, and by whom.

export type EnvironmentType = "PRODUCTION" | "STAGING" | "DEVELOPMENT" | "PREVIEW";

/** On whose behalf a call is made: found from an API key. Nothing of another environment can be seen or touched through it. */
export interface EnvironmentRef {
  readonly id: string;
  readonly slug: string;
  readonly type: EnvironmentType;
  readonly project: { readonly id: string; readonly ref: string; readonly slug: string; readonly name: string };
  readonly organization: { readonly id: string; readonly slug: string; readonly name: string };
}

export interface TriggerOptions {
  readonly payload?: string;
  readonly payloadType: string;
  readonly parentRunId?: string;
  readonly resumeParentOnCompletion?: boolean;
  readonly lockToVersion?: string;
  readonly queueName?: string;
  readonly concurrencyKey?: string;
  /** Due time; the caller has already turned "1h" into a date. */
  readonly delayUntil?: Date;
  readonly ttlSeconds?: number;
  readonly idempotencyKey?: string;
  readonly idempotencyKeyExpiresAt?: Date;
  readonly machine?: MachineName;
  readonly maxAttempts?: number;
  readonly maxDurationSeconds?: number;
  readonly metadata?: string;
  readonly metadataType?: string;
  readonly tags?: readonly string[];
  readonly isTest?: boolean;
  /** Seconds by which the run is put forward in its queue; negative puts it back. */
  readonly priority?: number;
  readonly traceContext?: Readonly<Record<string, unknown>>;
  readonly annotations?: Readonly<Record<string, unknown>>;
  /** Set by batches only. */
  readonly batch?: { readonly id: string; readonly index: number };
  /** `x-trigger-request-idempotency-key` of the call: a repeat of the same call within minutes answers the same run. */
  readonly requestKey?: string;
}

export interface BatchItem {
  readonly index: number;
  readonly task: string;
  readonly options: TriggerOptions;
  /** Set when the caller found that the item cannot be triggered (too large, options that make no sense): it becomes a failed run with this error. */
  readonly failure?: { readonly code: string; readonly message: string };
}

export interface TaskDeclaration {
  readonly id: string;
  readonly filePath: string;
  readonly exportName?: string;
  readonly queueName?: string;
  readonly machine?: MachineName;
  readonly maxDurationSeconds?: number;
  /** The SDK's retry options as the manifest holds them: maxAttempts, minTimeoutInMs, factor, …, outOfMemory. */
  readonly retry?: Readonly<Record<string, unknown>>;
  readonly ttlSeconds?: number;
  readonly triggerSource?: string;
}

export interface QueueDeclaration {
  readonly name: string;
  readonly concurrencyLimit?: number;
}

export interface DeploymentInput {
  readonly imageReference: string;
  readonly contentHash: string;
  readonly runtime: string;
  readonly sdkVersion: string;
  readonly cliVersion: string;
  readonly tasks: readonly TaskDeclaration[];
  readonly queues: readonly QueueDeclaration[];
}

/** Who asks on the worker side. */
export interface WorkerRef {
  readonly workerGroupId: string;
  readonly instanceName: string;
  readonly runnerId?: string;
}

export interface DequeueOptions {
  readonly maxResources?: { readonly cpu: number; readonly memory: number };
  /** How long to wait for a run when there is none. */
  readonly waitMs: number;
  readonly signal: AbortSignal;
}

export interface RunFilter {
  readonly statuses?: readonly RunStatus[];
  readonly taskIdentifiers?: readonly string[];
  readonly tags?: readonly string[];
  readonly batchId?: string;
  readonly createdAfter?: Date;
  readonly createdBefore?: Date;
}

export interface PageRequest {
  readonly size: number;
  readonly after?: string;
  readonly before?: string;
}

export interface MetadataChange {
  readonly metadata?: Readonly<Record<string, unknown>>;
  readonly operations?: readonly MetadataOperation[];
  readonly parentOperations?: readonly MetadataOperation[];
  readonly rootOperations?: readonly MetadataOperation[];
}

export type MetadataOperation =
  | { readonly type: "set"; readonly key: string; readonly value: unknown }
  | { readonly type: "delete"; readonly key: string }
  | { readonly type: "append"; readonly key: string; readonly value: unknown }
  | { readonly type: "remove"; readonly key: string; readonly value: unknown }
  | { readonly type: "increment"; readonly key: string; readonly value: number }
  | { readonly type: "update"; readonly value: Readonly<Record<string, unknown>> };
