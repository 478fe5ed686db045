import { z } from "zod";
import { PAYLOAD_BODY_LIMIT_BYTES, route } from "./route.ts";
import { TaskRunExecutionResult, WireDate } from "./run.ts";
import {
  CursorPagination,
  CursorQuery,
  ListRunsQuery,
  ListedRun,
  MetadataBody,
  ReplayBody,
  RetrievedRun,
  TimeText,
  TimelineLineView,
  TriggerBody,
} from "./sdkRuns.ts";

// The API of the Trigger.dev SDK: runs, waits and tokens. Batches, queues and the rest are in sdkMore.ts.

const TaskParams = z.object({ taskId: z.string().min(1).max(256) });
const RunIdParams = z.object({ runId: z.string().max(128) });
const TokenParams = z.object({ tokenId: z.string().max(128) });
const Id = z.object({ id: z.string() });

export const sdkRuns = {
  /** Makes a run. A repeat with the same idempotency key, or of the same request, answers the same run. */
  trigger: route("POST", "/api/v1/tasks/:taskId/trigger", {
    auth: "environment_or_public",
    params: TaskParams,
    body: TriggerBody,
    reply: z.object({ id: z.string(), isCached: z.boolean().optional() }),
    bodyLimitBytes: PAYLOAD_BODY_LIMIT_BYTES,
  }),
  /** A run that is not found is answered with `x-should-retry: true`: it may have been made a moment ago. */
  retrieve: route("GET", "/api/v3/runs/:runId", { auth: "environment_or_public", params: RunIdParams, reply: RetrievedRun }),
  list: route("GET", "/api/v1/runs", {
    auth: "environment_or_public",
    query: ListRunsQuery,
    reply: z.object({ data: z.array(ListedRun), pagination: CursorPagination }),
  }),
  listOfProject: route("GET", "/api/v1/projects/:projectRef/runs", {
    auth: "environment",
    params: z.object({ projectRef: z.string().max(128) }),
    query: ListRunsQuery,
    reply: z.object({ data: z.array(ListedRun), pagination: CursorPagination }),
  }),
  /** Cancelling what is over changes nothing and succeeds. */
  cancel: route("POST", "/api/v2/runs/:runId/cancel", { auth: "environment_or_public", params: RunIdParams, reply: Id }),
  replay: route("POST", "/api/v1/runs/:runId/replay", {
    auth: "environment",
    params: RunIdParams,
    body: ReplayBody,
    reply: Id,
    bodyLimitBytes: PAYLOAD_BODY_LIMIT_BYTES,
  }),
  /** Only a delayed run can be moved. */
  reschedule: route("POST", "/api/v1/runs/:runId/reschedule", {
    auth: "environment",
    params: RunIdParams,
    body: z.object({ delay: TimeText }),
    reply: RetrievedRun,
  }),
  addTags: route("POST", "/api/v1/runs/:runId/tags", {
    auth: "environment_or_public",
    params: RunIdParams,
    body: z.object({ tags: z.union([z.string(), z.array(z.string())]) }),
    reply: z.object({ message: z.string() }),
  }),
  /** 404 until the run is over. */
  result: route("GET", "/api/v1/runs/:runId/result", { auth: "environment", params: RunIdParams, reply: TaskRunExecutionResult }),
  getMetadata: route("GET", "/api/v1/runs/:runId/metadata", {
    auth: "environment",
    params: RunIdParams,
    reply: z.object({ metadata: z.record(z.string(), z.unknown()) }),
  }),
  updateMetadata: route("PUT", "/api/v1/runs/:runId/metadata", {
    auth: "environment",
    params: RunIdParams,
    body: MetadataBody,
    reply: z.object({ metadata: z.record(z.string(), z.unknown()) }),
    bodyLimitBytes: 1024 * 1024,
  }),
  /** Ours: what happened to the run, engine and nodes together, in the order of time. */
  timeline: route("GET", "/api/v1/runs/:runId/timeline", {
    auth: "environment_or_public",
    params: RunIdParams,
    reply: z.object({ events: z.array(TimelineLineView) }),
  }),
  resetIdempotencyKey: route("POST", "/api/v1/idempotencyKeys/:key/reset", {
    auth: "environment",
    params: z.object({ key: z.string().min(1).max(2048) }),
    body: z.object({ taskIdentifier: z.string().min(1).max(256) }),
    reply: Id,
  }),
} as const;

const TokenItem = z.object({
  id: z.string(),
  /** Whoever posts JSON to this address completes the token. */
  url: z.string(),
  status: z.enum(["WAITING", "COMPLETED", "TIMED_OUT"]),
  completedAt: WireDate.optional(),
  timeoutAt: WireDate.optional(),
  idempotencyKey: z.string().optional(),
  tags: z.array(z.string()),
  createdAt: WireDate,
});
export const TokenView = TokenItem.extend({
  output: z.string().optional(),
  outputType: z.string().optional(),
  outputIsError: z.boolean().optional(),
});
export type TokenView = z.infer<typeof TokenView>;

export const sdkWaits = {
  /** Makes the run wait until a date. */
  waitUntil: route("POST", "/engine/v1/runs/:runId/wait/duration", {
    auth: "environment",
    params: RunIdParams,
    body: z.object({ date: WireDate, idempotencyKey: z.string().min(1).max(2048).optional(), idempotencyKeyTTL: TimeText.optional() }),
    reply: z.object({ waitUntil: WireDate, waitpoint: Id }),
  }),
  waitForToken: route("POST", "/engine/v1/runs/:runId/waitpoints/tokens/:tokenId/wait", {
    auth: "environment",
    params: RunIdParams.extend({ tokenId: z.string().max(128) }),
    reply: z.object({ success: z.boolean() }),
  }),
  createToken: route("POST", "/api/v1/waitpoints/tokens", {
    auth: "environment",
    body: z.object({
      idempotencyKey: z.string().min(1).max(2048).optional(),
      idempotencyKeyTTL: TimeText.optional(),
      timeout: TimeText.optional(),
      tags: z.union([z.string(), z.array(z.string())]).optional(),
    }),
    reply: z.object({ id: z.string(), isCached: z.boolean(), url: z.string() }),
  }),
  listTokens: route("GET", "/api/v1/waitpoints/tokens", {
    auth: "environment",
    query: z.looseObject({
      ...CursorQuery,
      "filter[status]": z.string().max(256).optional(),
      "filter[tags]": z.string().max(2048).optional(),
    }),
    reply: z.object({ data: z.array(TokenItem), pagination: CursorPagination }),
  }),
  getToken: route("GET", "/api/v1/waitpoints/tokens/:tokenId", { auth: "environment_or_public", params: TokenParams, reply: TokenView }),
  /** Completing what is complete succeeds and changes nothing. */
  completeToken: route("POST", "/api/v1/waitpoints/tokens/:tokenId/complete", {
    auth: "environment_or_public",
    params: TokenParams,
    body: z.object({ data: z.unknown().optional() }).optional(),
    reply: z.object({ success: z.literal(true) }),
    bodyLimitBytes: PAYLOAD_BODY_LIMIT_BYTES,
  }),
  /** For third parties: the address holds its own proof. Any JSON becomes the output; what is not JSON becomes `{}`. */
  tokenCallback: route("POST", "/api/v1/waitpoints/tokens/:tokenId/callback/:hash", {
    auth: "none",
    params: TokenParams.extend({ hash: z.string().max(128) }),
    query: z.object({ environment: z.string().max(128) }),
    body: z.instanceof(Buffer),
    bodyKind: "raw",
    reply: z.object({ success: z.literal(true) }),
    bodyLimitBytes: 512 * 1024,
  }),
} as const;
