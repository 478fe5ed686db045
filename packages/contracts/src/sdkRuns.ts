import { z } from "zod";
import { MachineName } from "./machine.ts";
import { WireDate } from "./run.ts";

// Shapes of the API that the Trigger.dev SDK calls, as far as they are about runs. Dates leave as ISO strings.

/** A time as users write it: `"1h"`, `"30s"`, an ISO date. The platform turns it into a date. */
export const TimeText = z.string().max(100);
const Ttl = z.union([TimeText, z.number().int().nonnegative()]);
const Tags = z.union([z.string(), z.array(z.string())]);
const IdempotencyKey = z.string().min(1).max(2048);
const ConcurrencyKey = z.union([z.string().max(512), z.number()]).transform(String);

/** What is said of one run to be. Keys that this platform has no use for are ignored. */
export const TriggerOptionsBody = z.looseObject({
  payloadType: z.string().max(128).optional(),
  parentRunId: z.string().max(128).optional(),
  resumeParentOnCompletion: z.boolean().optional(),
  lockToVersion: z.string().max(128).optional(),
  queue: z.looseObject({ name: z.string().min(1).max(128) }).optional(),
  concurrencyKey: ConcurrencyKey.optional(),
  delay: TimeText.optional(),
  ttl: Ttl.optional(),
  idempotencyKey: IdempotencyKey.optional(),
  idempotencyKeyTTL: TimeText.optional(),
  machine: MachineName.optional(),
  maxAttempts: z.number().int().min(1).optional(),
  maxDuration: z.number().nonnegative().optional(),
  metadata: z.unknown().optional(),
  metadataType: z.string().max(128).optional(),
  tags: Tags.optional(),
  test: z.boolean().optional(),
  priority: z.number().optional(),
});
export type TriggerOptionsBody = z.infer<typeof TriggerOptionsBody>;

export const TriggerBody = z.looseObject({ payload: z.unknown().optional(), options: TriggerOptionsBody.optional() });
export type TriggerBody = z.infer<typeof TriggerBody>;

export const BatchItemBody = z.looseObject({
  task: z.string().min(1).max(256),
  payload: z.unknown().optional(),
  options: TriggerOptionsBody.optional(),
});
export type BatchItemBody = z.infer<typeof BatchItemBody>;

/** One line of a streamed batch. */
export const BatchLine = BatchItemBody.extend({ index: z.number().int().nonnegative() });
export type BatchLine = z.infer<typeof BatchLine>;

/** Status of a run as the SDK shows it. */
export const SdkRunStatus = z.string();

const CommonRun = z.object({
  id: z.string(),
  status: SdkRunStatus,
  taskIdentifier: z.string(),
  idempotencyKey: z.string().optional(),
  version: z.string().optional(),
  isQueued: z.boolean(),
  isExecuting: z.boolean(),
  isWaiting: z.boolean(),
  isCompleted: z.boolean(),
  isSuccess: z.boolean(),
  isFailed: z.boolean(),
  isCancelled: z.boolean(),
  isTest: z.boolean(),
  createdAt: WireDate,
  updatedAt: WireDate,
  startedAt: WireDate.optional(),
  finishedAt: WireDate.optional(),
  delayedUntil: WireDate.optional(),
  ttl: z.string().optional(),
  expiredAt: WireDate.optional(),
  tags: z.array(z.string()),
  costInCents: z.number(),
  baseCostInCents: z.number(),
  durationMs: z.number(),
  metadata: z.record(z.string(), z.unknown()).optional(),
});

/** A run among related ones. */
export const RelatedRun = CommonRun.extend({
  depth: z.number(),
  triggerFunction: z.enum(["trigger", "triggerAndWait", "batchTrigger", "batchTriggerAndWait"]),
  batchId: z.string().optional(),
});
export type RelatedRun = z.infer<typeof RelatedRun>;

const SdkError = z.object({ message: z.string(), name: z.string().optional(), stackTrace: z.string().optional() });

/** What `runs.retrieve` yields. `payload` and `output` are the values themselves, as JSON can hold them. */
export const RetrievedRun = RelatedRun.extend({
  payload: z.unknown().optional(),
  payloadPresignedUrl: z.string().optional(),
  output: z.unknown().optional(),
  outputPresignedUrl: z.string().optional(),
  error: SdkError.optional(),
  relatedRuns: z.object({ root: RelatedRun.optional(), parent: RelatedRun.optional(), children: z.array(RelatedRun).optional() }),
  attemptCount: z.number(),
});
export type RetrievedRun = z.infer<typeof RetrievedRun>;

export const ListedRun = CommonRun.extend({ env: z.object({ id: z.string(), name: z.string() }) });
export type ListedRun = z.infer<typeof ListedRun>;

export const MAX_PAGE_SIZE = 100;

/** Pages that a cursor walks through. */
export const CursorQuery = {
  "page[size]": z.coerce.number().int().min(1).max(MAX_PAGE_SIZE).default(25),
  "page[after]": z.string().max(128).optional(),
  "page[before]": z.string().max(128).optional(),
} as const;

export const CursorPagination = z.object({ next: z.string().optional(), previous: z.string().optional() });

const CommaList = z.string().max(2048);

/** Filters of `runs.list`; a list is separated by commas. */
export const ListRunsQuery = z.looseObject({
  ...CursorQuery,
  "filter[status]": CommaList.optional(),
  "filter[taskIdentifier]": CommaList.optional(),
  "filter[tag]": CommaList.optional(),
  "filter[batch]": z.string().max(128).optional(),
  "filter[createdAt][from]": z.string().max(64).optional(),
  "filter[createdAt][to]": z.string().max(64).optional(),
  "filter[createdAt][period]": z.string().max(64).optional(),
});
export type ListRunsQuery = z.infer<typeof ListRunsQuery>;

const Overrides = TriggerOptionsBody.pick({
  concurrencyKey: true,
  delay: true,
  ttl: true,
  idempotencyKey: true,
  idempotencyKeyTTL: true,
  machine: true,
  maxAttempts: true,
  maxDuration: true,
  priority: true,
  tags: true,
});

/** What a replay does differently from the run it repeats. */
export const ReplayBody = Overrides.extend({
  payload: z.unknown().optional(),
  payloadType: z.enum(["application/json", "application/super+json"]).optional(),
  metadata: z.record(z.string(), z.unknown()).optional(),
  queue: z.string().min(1).max(128).optional(),
  version: z.string().max(128).optional(),
}).optional();
export type ReplayBody = z.infer<typeof ReplayBody>;

const Key = z.string().min(1).max(512);
export const MetadataOperationBody = z.discriminatedUnion("type", [
  z.object({ type: z.literal("set"), key: Key, value: z.unknown() }),
  z.object({ type: z.literal("delete"), key: Key }),
  z.object({ type: z.literal("append"), key: Key, value: z.unknown() }),
  z.object({ type: z.literal("remove"), key: Key, value: z.unknown() }),
  z.object({ type: z.literal("increment"), key: Key, value: z.number() }),
  z.object({ type: z.literal("update"), value: z.record(z.string(), z.unknown()) }),
]);
const Operations = z.array(MetadataOperationBody).max(1000);

/** Replaces metadata, or changes it, the parent's and the root's step by step. */
export const MetadataBody = z.object({
  metadata: z.record(z.string(), z.unknown()).optional(),
  operations: Operations.optional(),
  parentOperations: Operations.optional(),
  rootOperations: Operations.optional(),
});
export type MetadataBody = z.infer<typeof MetadataBody>;

/** One line of a run's history: `engine` says what became of the run, `node` what was done to its sandbox. */
export const TimelineLineView = z.object({
  source: z.enum(["engine", "node"]),
  name: z.string(),
  at: WireDate,
  durationMs: z.number().optional(),
  reason: z.string().optional(),
  runnerId: z.string().optional(),
  snapshotId: z.string().optional(),
  properties: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])).optional(),
});
export type TimelineLineView = z.infer<typeof TimelineLineView>;
