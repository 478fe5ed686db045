import { z } from "zod";

// Shapes of a run as runners and supervisors see it. Dates are ISO strings on the wire.

export const ExecutionStatus = z.enum([
  "RUN_CREATED",
  "DELAYED",
  "QUEUED",
  "QUEUED_EXECUTING",
  "PENDING_EXECUTING",
  "EXECUTING",
  "EXECUTING_WITH_WAITPOINTS",
  "SUSPENDED",
  "PENDING_CANCEL",
  "FINISHED",
]);
export type ExecutionStatus = z.infer<typeof ExecutionStatus>;

export const RunStatus = z.enum([
  "DELAYED",
  "PENDING",
  "PENDING_VERSION",
  "WAITING_FOR_DEPLOY",
  "DEQUEUED",
  "EXECUTING",
  "WAITING_TO_RESUME",
  "RETRYING_AFTER_FAILURE",
  "PAUSED",
  "CANCELED",
  "INTERRUPTED",
  "COMPLETED_SUCCESSFULLY",
  "COMPLETED_WITH_ERRORS",
  "SYSTEM_FAILURE",
  "CRASHED",
  "EXPIRED",
  "TIMED_OUT",
]);
export type RunStatus = z.infer<typeof RunStatus>;

export const FINAL_RUN_STATUSES = [
  "CANCELED",
  "INTERRUPTED",
  "COMPLETED_SUCCESSFULLY",
  "COMPLETED_WITH_ERRORS",
  "SYSTEM_FAILURE",
  "CRASHED",
  "EXPIRED",
  "TIMED_OUT",
] as const satisfies readonly RunStatus[];

/** Accepts what a JSON date may look like and gives a Date. */
export const WireDate = z.coerce.date();

export const ExecutionSnapshot = z.object({
  id: z.string(),
  friendlyId: z.string(),
  executionStatus: ExecutionStatus,
  description: z.string(),
  createdAt: WireDate,
});
export type ExecutionSnapshot = z.infer<typeof ExecutionSnapshot>;

export const BaseRun = z.object({
  id: z.string(),
  friendlyId: z.string(),
  status: RunStatus,
  attemptNumber: z.number().int().nullish(),
});
export type BaseRun = z.infer<typeof BaseRun>;

export const ExecutionResult = z.object({ snapshot: ExecutionSnapshot, run: BaseRun });
export type ExecutionResult = z.infer<typeof ExecutionResult>;

export const WaitpointType = z.enum(["RUN", "DATETIME", "MANUAL", "BATCH"]);
export type WaitpointType = z.infer<typeof WaitpointType>;

const Reference = z.object({ id: z.string(), friendlyId: z.string() });

export const CompletedWaitpoint = z.object({
  id: z.string(),
  index: z.number().int().optional(),
  friendlyId: z.string(),
  type: WaitpointType,
  completedAt: WireDate,
  idempotencyKey: z.string().optional(),
  completedByTaskRun: Reference.extend({ batch: Reference.optional() }).optional(),
  completedAfter: WireDate.optional(),
  completedByBatch: Reference.optional(),
  output: z.string().optional(),
  outputType: z.string().optional(),
  outputIsError: z.boolean(),
});
export type CompletedWaitpoint = z.infer<typeof CompletedWaitpoint>;

/** DOCKER and KUBERNETES are what foreign supervisors report; ours says COMPUTE. */
export const CheckpointType = z.enum(["DOCKER", "KUBERNETES", "COMPUTE"]);
export type CheckpointType = z.infer<typeof CheckpointType>;

/** What a supervisor reports: `location` is opaque to the engine (for a compute gateway, its memory image id). */
export const CheckpointInput = z.object({
  type: CheckpointType,
  location: z.string().min(1).max(1024),
  imageRef: z.string().max(1024).optional(),
  reason: z.string().max(1024).optional(),
});
export type CheckpointInput = z.infer<typeof CheckpointInput>;

export const Checkpoint = CheckpointInput.extend({
  id: z.string(),
  friendlyId: z.string(),
  imageRef: z.string().nullish(),
  reason: z.string().nullish(),
});
export type Checkpoint = z.infer<typeof Checkpoint>;

/** Extra facts beside a snapshot that foreign parts neither send nor need. */
export const WaitFacts = z.object({
  /** When the wait ends at the latest, if that is known (DATETIME waits, tokens with a time-out). */
  knownEndAt: WireDate.optional(),
  types: z.array(WaitpointType),
});
export type WaitFacts = z.infer<typeof WaitFacts>;

export const RunExecutionData = z.object({
  version: z.literal("1"),
  snapshot: ExecutionSnapshot,
  run: BaseRun,
  batch: Reference.optional(),
  checkpoint: Checkpoint.optional(),
  completedWaitpoints: z.array(CompletedWaitpoint),
  torporWait: WaitFacts.optional(),
});
export type RunExecutionData = z.infer<typeof RunExecutionData>;

// Errors of a task

const Cause = z.object({ name: z.string().optional(), message: z.string(), stackTrace: z.string().optional() });

export const TaskRunError = z.discriminatedUnion("type", [
  z.object({
    type: z.literal("BUILT_IN_ERROR"),
    name: z.string(),
    message: z.string(),
    stackTrace: z.string(),
    causes: z.array(Cause).optional(),
  }),
  z.object({ type: z.literal("CUSTOM_ERROR"), raw: z.string() }),
  z.object({ type: z.literal("STRING_ERROR"), raw: z.string() }),
  z.object({
    type: z.literal("INTERNAL_ERROR"),
    code: z.string().max(200),
    message: z.string().optional(),
    stackTrace: z.string().optional(),
  }),
]);
export type TaskRunError = z.infer<typeof TaskRunError>;

const Usage = z.object({ durationMs: z.number() });
const FlushedMetadata = z.object({ data: z.string().optional(), dataType: z.string() });

export const TaskRunExecutionResult = z.discriminatedUnion("ok", [
  z.object({
    ok: z.literal(true),
    id: z.string(),
    output: z.string().optional(),
    outputType: z.string(),
    usage: Usage.optional(),
    taskIdentifier: z.string().optional(),
    flushedMetadata: FlushedMetadata.optional(),
  }),
  z.object({
    ok: z.literal(false),
    id: z.string(),
    error: TaskRunError,
    retry: z.object({ timestamp: z.number(), delay: z.number(), error: z.unknown().optional() }).optional(),
    skippedRetrying: z.boolean().optional(),
    usage: Usage.optional(),
    taskIdentifier: z.string().optional(),
    flushedMetadata: FlushedMetadata.optional(),
  }),
]);
export type TaskRunExecutionResult = z.infer<typeof TaskRunExecutionResult>;

export const AttemptStatus = z.enum(["RUN_FINISHED", "RUN_PENDING_CANCEL", "RETRY_QUEUED", "RETRY_IMMEDIATELY"]);
export type AttemptStatus = z.infer<typeof AttemptStatus>;

export const CompleteResult = z.object({ attemptStatus: AttemptStatus, snapshot: ExecutionSnapshot, run: BaseRun });
export type CompleteResult = z.infer<typeof CompleteResult>;

/** What an attempt starts with; the runner checks it, so every field without `optional` is required by it. */
export const TaskRunExecution = z.object({
  attempt: z.looseObject({ number: z.number().int(), startedAt: WireDate }),
  run: z.looseObject({
    id: z.string(),
    payload: z.string(),
    payloadType: z.string(),
    createdAt: WireDate,
    tags: z.array(z.string()),
    isTest: z.boolean(),
    isReplay: z.boolean(),
    startedAt: WireDate,
    idempotencyKey: z.string().optional(),
    maxAttempts: z.number().int().optional(),
    version: z.string().optional(),
    metadata: z.record(z.string(), z.unknown()).optional(),
    maxDuration: z.number().optional(),
    priority: z.number().optional(),
    parentTaskRunId: z.string().optional(),
    rootTaskRunId: z.string().optional(),
    traceContext: z.record(z.string(), z.unknown()).optional(),
  }),
  task: z.looseObject({ id: z.string(), filePath: z.string() }),
  queue: z.object({ id: z.string(), name: z.string() }),
  environment: z.object({ id: z.string(), slug: z.string(), type: z.enum(["PRODUCTION", "STAGING", "DEVELOPMENT", "PREVIEW"]) }),
  organization: z.object({ id: z.string(), slug: z.string(), name: z.string() }),
  project: z.object({ id: z.string(), ref: z.string(), slug: z.string(), name: z.string() }),
  machine: z.object({ name: z.string(), cpu: z.number(), memory: z.number(), centsPerMs: z.number() }),
  batch: z.object({ id: z.string() }).optional(),
  deployment: z
    .looseObject({ id: z.string(), shortCode: z.string(), version: z.string(), runtime: z.string(), runtimeVersion: z.string() })
    .optional(),
});
export type TaskRunExecution = z.infer<typeof TaskRunExecution>;

export const StartResult = ExecutionResult.extend({ execution: TaskRunExecution, envVars: z.record(z.string(), z.string()) });
export type StartResult = z.infer<typeof StartResult>;
