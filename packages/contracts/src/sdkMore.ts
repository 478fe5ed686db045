import { z } from "zod";
import { PAYLOAD_BODY_LIMIT_BYTES, route } from "./route.ts";
import { TaskRunExecutionResult, WireDate } from "./run.ts";
import { BatchItemBody } from "./sdkRuns.ts";

// The API of the Trigger.dev SDK: batches, queues, environment variables, stored payloads, public tokens.

const BatchParams = z.object({ batchId: z.string().max(128) });
const ParentOfBatch = { parentRunId: z.string().max(128).optional(), resumeParentOnCompletion: z.boolean().optional() };

export const BatchStatus = z.enum(["PENDING", "PROCESSING", "COMPLETED", "PARTIAL_FAILED", "ABORTED"]);
const BatchItem = z.object({
  id: z.string(),
  status: BatchStatus,
  idempotencyKey: z.string().optional(),
  createdAt: WireDate,
  updatedAt: WireDate,
  runCount: z.number(),
  runs: z.array(z.string()),
});
export const BatchView = BatchItem.extend({
  processing: z.object({
    completedAt: WireDate.optional(),
    errors: z.array(z.object({ index: z.number(), taskIdentifier: z.string(), error: z.string(), errorCode: z.string().optional() })),
  }),
});
export type BatchView = z.infer<typeof BatchView>;

export const sdkBatches = {
  /** Announces a batch. With `resumeParentOnCompletion` the parent is blocked from now on. */
  create: route("POST", "/api/v3/batches", {
    auth: "environment_or_public",
    body: z.looseObject({
      runCount: z.number().int().positive(),
      ...ParentOfBatch,
      idempotencyKey: z.string().min(1).max(2048).optional(),
    }),
    reply: z.object({ id: z.string(), runCount: z.number(), isCached: z.boolean(), idempotencyKey: z.string().optional() }),
    status: 202,
  }),
  /** Takes the items as lines of JSON. The client sends the whole again until `sealed` is true; an index that was taken is not taken twice. */
  streamItems: route("POST", "/api/v3/batches/:batchId/items", {
    auth: "environment_or_public",
    params: BatchParams,
    bodyKind: "stream",
    reply: z.object({
      id: z.string(),
      itemsAccepted: z.number(),
      itemsDeduplicated: z.number(),
      sealed: z.boolean(),
      enqueuedCount: z.number().optional(),
      expectedCount: z.number().optional(),
    }),
  }),
  /** A batch in one request, as older SDKs send it. */
  triggerAll: route("POST", "/api/v2/tasks/batch", {
    auth: "environment_or_public",
    body: z.looseObject({ items: z.array(BatchItemBody).min(1), ...ParentOfBatch }),
    reply: z.object({ id: z.string(), runCount: z.number() }),
    status: 202,
    bodyLimitBytes: 4 * PAYLOAD_BODY_LIMIT_BYTES,
  }),
  retrieveV1: route("GET", "/api/v1/batches/:batchId", { auth: "environment_or_public", params: BatchParams, reply: BatchItem }),
  retrieve: route("GET", "/api/v2/batches/:batchId", { auth: "environment_or_public", params: BatchParams, reply: BatchView }),
  /** Results of the runs that are over, in the order of their items. */
  results: route("GET", "/api/v1/batches/:batchId/results", {
    auth: "environment",
    params: BatchParams,
    reply: z.object({ id: z.string(), items: z.array(TaskRunExecutionResult) }),
  }),
} as const;

const QueueType = z.enum(["task", "custom", "id"]);
const QueueParams = z.object({ queue: z.string().min(1).max(256) });
const Bound = z.number().nullable();
export const QueueView = z.object({
  id: z.string(),
  name: z.string(),
  type: z.enum(["task", "custom"]),
  running: z.number(),
  queued: z.number(),
  paused: z.boolean(),
  concurrencyLimit: Bound,
  version: z.literal("V1"),
  concurrency: z
    .object({ current: Bound, base: Bound, override: Bound, overriddenAt: WireDate.nullable(), overriddenBy: z.string().nullable() })
    .optional(),
});
export type QueueView = z.infer<typeof QueueView>;

export const sdkQueues = {
  list: route("GET", "/api/v1/queues", {
    auth: "environment",
    query: z.object({ page: z.coerce.number().int().min(1).default(1), perPage: z.coerce.number().int().min(1).max(100).default(25) }),
    reply: z.object({
      data: z.array(QueueView),
      pagination: z.object({ currentPage: z.number(), totalPages: z.number(), count: z.number() }),
    }),
  }),
  retrieve: route("GET", "/api/v1/queues/:queue", {
    auth: "environment",
    params: QueueParams,
    query: z.object({ type: QueueType.default("id") }),
    reply: QueueView,
  }),
  pause: route("POST", "/api/v1/queues/:queue/pause", {
    auth: "environment",
    params: QueueParams,
    body: z.object({ type: QueueType.default("id"), action: z.enum(["pause", "resume"]) }),
    reply: QueueView,
  }),
  overrideConcurrency: route("POST", "/api/v1/queues/:queue/concurrency/override", {
    auth: "environment",
    params: QueueParams,
    body: z.object({ type: QueueType.default("id"), concurrencyLimit: z.number().int().min(0).max(100_000) }),
    reply: QueueView,
  }),
  resetConcurrency: route("POST", "/api/v1/queues/:queue/concurrency/reset", {
    auth: "environment",
    params: QueueParams,
    body: z.object({ type: QueueType.default("id") }),
    reply: QueueView,
  }),
} as const;

const EnvParams = z.object({ projectRef: z.string().max(128), slug: z.string().max(64) });
const VarParams = EnvParams.extend({ name: z.string().max(256) });
const VarName = z.string().regex(/^[A-Za-z_][A-Za-z0-9_]{0,255}$/, "must be letters, digits and '_', and not begin with a digit");
const VarValue = z.string().max(64 * 1024);
const EnvVar = z.object({ name: z.string(), value: z.string(), isSecret: z.boolean() });
const Success = z.object({ success: z.boolean() });
const VARS_LIMIT_BYTES = 1024 * 1024;

export const sdkEnvVars = {
  list: route("GET", "/api/v1/projects/:projectRef/envvars/:slug", { auth: "environment", params: EnvParams, reply: z.array(EnvVar) }),
  create: route("POST", "/api/v1/projects/:projectRef/envvars/:slug", {
    auth: "environment",
    params: EnvParams,
    body: z.looseObject({ name: VarName, value: VarValue }),
    reply: Success,
    bodyLimitBytes: VARS_LIMIT_BYTES,
  }),
  /** Without `override`, names that have a value keep it. */
  import: route("POST", "/api/v1/projects/:projectRef/envvars/:slug/import", {
    auth: "environment",
    params: EnvParams,
    body: z.looseObject({ variables: z.record(VarName, VarValue), override: z.boolean().optional() }),
    reply: Success,
    bodyLimitBytes: VARS_LIMIT_BYTES,
  }),
  get: route("GET", "/api/v1/projects/:projectRef/envvars/:slug/:name", { auth: "environment", params: VarParams, reply: EnvVar }),
  update: route("PUT", "/api/v1/projects/:projectRef/envvars/:slug/:name", {
    auth: "environment",
    params: VarParams,
    body: z.looseObject({ value: VarValue }),
    reply: Success,
    bodyLimitBytes: VARS_LIMIT_BYTES,
  }),
  delete: route("DELETE", "/api/v1/projects/:projectRef/envvars/:slug/:name", { auth: "environment", params: VarParams, reply: Success }),
} as const;

const Realtime = z.looseObject({}).optional();

export const sdkAuth = {
  /** What the SDK puts into a public token that it signs with the environment's key. */
  claims: route("POST", "/api/v1/auth/jwt/claims", { auth: "environment", reply: z.object({ sub: z.string(), pub: z.literal(true) }) }),
  getClaims: route("GET", "/api/v1/auth/jwt/claims", { auth: "environment", reply: z.object({ sub: z.string(), pub: z.literal(true) }) }),
  createPublicToken: route("POST", "/api/v1/auth/public-tokens", {
    auth: "environment",
    body: z.looseObject({
      scopes: z.array(z.string().min(1).max(512)).min(1).max(100),
      expirationTime: z.union([z.number().int().positive(), z.string().max(64)]).optional(),
      oneTimeUse: z.boolean().optional(),
      realtime: Realtime,
    }),
    reply: z.object({ token: z.string() }),
  }),
} as const;

const PacketParams = z.object({ "*": z.string().min(1).max(512) });

/** Payloads and outputs that are too large for a request are stored apart, and spoken of by key. */
export const sdkPackets = {
  presignUpload: route("PUT", "/api/v2/packets/*", {
    auth: "environment",
    params: PacketParams,
    reply: z.object({ presignedUrl: z.string(), storagePath: z.string() }),
  }),
  presignDownload: route("GET", "/api/v1/packets/*", {
    auth: "environment",
    params: PacketParams,
    reply: z.object({ presignedUrl: z.string() }),
  }),
} as const;
