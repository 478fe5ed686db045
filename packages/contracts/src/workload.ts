import { z } from "zod";
import { CompleteResult, ExecutionResult, RunExecutionData, StartResult } from "./run.ts";
import { CompleteAttemptBody, DequeuedMessage, HeartbeatBody, RunParams, SnapshotParams, StartAttemptBody } from "./workerActions.ts";
import { PAYLOAD_BODY_LIMIT_BYTES, route } from "./route.ts";

// The seam between a runner in its sandbox and the supervisor of its node.

export const WORKLOAD_HEADERS = {
  deploymentId: "x-trigger-workload-deployment-id",
  runnerId: "x-trigger-workload-runner-id",
  deploymentVersion: "x-trigger-workload-deployment-version",
  projectRef: "x-trigger-workload-project-ref",
} as const;

const PREFIX = "/api/v1/workload-actions";
const RUN = `${PREFIX}/runs/:runId`;
const SNAPSHOT = `${RUN}/snapshots/:snapshotId`;

/** `ok: false` leaves the runner up, waiting in memory. */
export const SuspendReply = z.union([z.object({ ok: z.literal(true) }), z.object({ ok: z.literal(false), error: z.string() })]);

export const workload = {
  startAttempt: route("POST", `${SNAPSHOT}/attempts/start`, {
    auth: "sandbox",
    params: SnapshotParams,
    body: StartAttemptBody,
    reply: StartResult,
  }),
  completeAttempt: route("POST", `${SNAPSHOT}/attempts/complete`, {
    auth: "sandbox",
    params: SnapshotParams,
    body: CompleteAttemptBody,
    reply: z.object({ result: CompleteResult }),
    bodyLimitBytes: PAYLOAD_BODY_LIMIT_BYTES,
  }),
  heartbeat: route("POST", `${SNAPSHOT}/heartbeat`, {
    auth: "sandbox",
    params: SnapshotParams,
    body: HeartbeatBody,
    reply: z.object({ ok: z.literal(true) }),
  }),
  /** Only notes the wish: answered at once, because the runner handles nothing else until it is. */
  suspend: route("GET", `${SNAPSHOT}/suspend`, { auth: "sandbox", params: SnapshotParams, reply: SuspendReply, status: 202 }),
  continueRun: route("GET", `${SNAPSHOT}/continue`, { auth: "sandbox", params: SnapshotParams, reply: ExecutionResult }),
  snapshotsSince: route("GET", `${RUN}/snapshots/since/:snapshotId`, {
    auth: "sandbox",
    params: SnapshotParams,
    reply: z.object({ snapshots: z.array(RunExecutionData) }),
  }),
  debugLog: route("POST", `${RUN}/logs/debug`, {
    auth: "sandbox",
    params: RunParams,
    body: z.object({ message: z.string(), time: z.unknown(), properties: z.record(z.string(), z.unknown()).optional() }),
    reply: z.undefined(),
    status: 204,
  }),
  dequeueDeployment: route("GET", `${PREFIX}/deployments/:deploymentId/dequeue`, {
    auth: "sandbox",
    params: z.object({ deploymentId: z.string() }),
    reply: z.array(DequeuedMessage),
  }),
} as const;

export const WORKLOAD_SOCKET = { namespace: "/workload", start: "run:start", stop: "run:stop", notify: "run:notify" } as const;
export const RunSocketMessage = z.object({
  version: z.literal("1"),
  run: z.object({ friendlyId: z.string().max(128) }),
  snapshot: z.object({ friendlyId: z.string().max(128) }),
});
export type RunSocketMessage = z.infer<typeof RunSocketMessage>;
