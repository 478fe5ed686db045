import { z } from "zod";
import {
  CheckpointInput,
  CheckpointType,
  CompletedWaitpoint,
  CompleteResult,
  ExecutionResult,
  ExecutionSnapshot,
  RunExecutionData,
  StartResult,
  TaskRunExecutionResult,
  WireDate,
} from "./run.ts";
import { MachinePreset } from "./machine.ts";
import { PAYLOAD_BODY_LIMIT_BYTES, route } from "./route.ts";

// The seam between a supervisor and the platform.

/** Headers of every call; the last one only on calls about a run. */
export const WORKER_HEADERS = {
  instanceName: "x-trigger-worker-instance-name",
  managedSecret: "x-trigger-worker-managed-secret",
  deploymentId: "x-trigger-worker-deployment-id",
  runnerId: "x-trigger-worker-runner-id",
  environmentId: "x-trigger-worker-environment-id",
} as const;

/** A run handed to a node. `checkpoint` present means: restore it, never start it warm or cold. */
export const DequeuedMessage = z.object({
  version: z.literal("1"),
  snapshot: ExecutionSnapshot,
  dequeuedAt: WireDate,
  image: z.string().optional(),
  checkpoint: z
    .object({ id: z.string(), type: CheckpointType, location: z.string(), imageRef: z.string().nullish(), reason: z.string().nullish() })
    .optional(),
  completedWaitpoints: z.array(CompletedWaitpoint),
  backgroundWorker: z.object({ id: z.string(), friendlyId: z.string(), version: z.string(), runtime: z.string().optional() }),
  deployment: z.object({ id: z.string().optional(), friendlyId: z.string().optional(), imagePlatform: z.string().optional() }),
  run: z.object({
    id: z.string(),
    friendlyId: z.string(),
    isTest: z.boolean(),
    isReplay: z.boolean(),
    machine: MachinePreset,
    attemptNumber: z.number().int(),
    masterQueue: z.string(),
    traceContext: z.record(z.string(), z.unknown()),
    annotations: z.record(z.string(), z.unknown()).optional(),
  }),
  environment: z.object({ id: z.string(), type: z.enum(["PRODUCTION", "STAGING", "DEVELOPMENT", "PREVIEW"]) }),
  organization: z.object({ id: z.string() }),
  project: z.object({ id: z.string() }),
});
export type DequeuedMessage = z.infer<typeof DequeuedMessage>;

const PREFIX = "/engine/v1/worker-actions";
const RUN = `${PREFIX}/runs/:runId`;
const SNAPSHOT = `${RUN}/snapshots/:snapshotId`;

const Usage = z.object({ used: z.number(), available: z.number() });
export const RunParams = z.object({ runId: z.string().max(128) });
export const SnapshotParams = z.object({ runId: z.string().max(128), snapshotId: z.string().max(128) });
const Ok = z.object({ ok: z.literal(true) });

export const StartAttemptBody = z.object({
  isWarmStart: z.boolean().optional(),
  supportsRunTokenRefresh: z.boolean().optional(),
});
export const HeartbeatBody = z.looseObject({});
export const CompleteAttemptBody = z.object({ completion: TaskRunExecutionResult, forceRequeue: z.boolean().optional() });
export const SuspendBody = z.discriminatedUnion("success", [
  z.object({ success: z.literal(true), checkpoint: CheckpointInput }),
  z.object({ success: z.literal(false), error: z.string().max(16 * 1024) }),
]);
export type SuspendBody = z.infer<typeof SuspendBody>;

export const RestoreOutcomeBody = z.object({
  outcome: z.enum(["requeue", "fail", "fallback"]),
  reason: z.string().min(1).max(256),
  message: z
    .string()
    .max(16 * 1024)
    .optional(),
});
export type RestoreOutcomeBody = z.infer<typeof RestoreOutcomeBody>;

/** One line of a run's timeline, as a node tells it. Beyond the shared protocol: a foreign platform answers 404 and loses nothing. */
export const TimelineEvent = z.object({
  name: z.string().min(1).max(100),
  at: WireDate,
  /** Milliseconds, when the event is a step that took time. */
  durationMs: z.number().optional(),
  reason: z.string().max(256).optional(),
  runnerId: z.string().max(200).optional(),
  snapshotId: z.string().max(128).optional(),
  properties: z.record(z.string(), z.union([z.string().max(1024), z.number(), z.boolean()])).optional(),
});
export type TimelineEvent = z.infer<typeof TimelineEvent>;

export const workerActions = {
  /** Says that a supervisor is there. Must succeed before anything else. */
  connect: route("POST", `${PREFIX}/connect`, {
    auth: "worker",
    body: z.object({ metadata: z.looseObject({}) }),
    reply: z.object({ ok: z.literal(true), workerGroup: z.object({ type: z.string(), name: z.string() }) }),
  }),
  heartbeat: route("POST", `${PREFIX}/heartbeat`, {
    auth: "worker",
    body: z.object({ cpu: Usage.optional(), memory: Usage.optional(), tasks: z.array(z.string()).max(10_000).optional() }),
    reply: Ok,
  }),
  /** Takes at most one run; waits up to about 10 s for one. Unknown keys of old supervisors are tolerated. */
  dequeue: route("POST", `${PREFIX}/dequeue`, {
    auth: "worker",
    body: z.looseObject({
      maxResources: z.object({ cpu: z.number(), memory: z.number() }).optional(),
      queueClass: z.string().optional(),
    }),
    reply: z.array(DequeuedMessage),
  }),
  /** Legacy; always empty. */
  dequeueDeployment: route("GET", `${PREFIX}/deployments/:deploymentId/dequeue`, {
    auth: "worker",
    params: z.object({ deploymentId: z.string() }),
    reply: z.array(DequeuedMessage),
  }),
  runHeartbeat: route("POST", `${SNAPSHOT}/heartbeat`, { auth: "worker", params: SnapshotParams, body: HeartbeatBody, reply: Ok }),
  startAttempt: route("POST", `${SNAPSHOT}/attempts/start`, {
    auth: "worker",
    params: SnapshotParams,
    body: StartAttemptBody,
    reply: StartResult,
  }),
  completeAttempt: route("POST", `${SNAPSHOT}/attempts/complete`, {
    auth: "worker",
    params: SnapshotParams,
    body: CompleteAttemptBody,
    reply: z.object({ result: CompleteResult }),
    bodyLimitBytes: PAYLOAD_BODY_LIMIT_BYTES,
  }),
  latestSnapshot: route("GET", `${RUN}/snapshots/latest`, {
    auth: "worker",
    params: RunParams,
    reply: z.object({ execution: RunExecutionData }),
  }),
  snapshotsSince: route("GET", `${RUN}/snapshots/since/:snapshotId`, {
    auth: "worker",
    params: SnapshotParams,
    reply: z.object({ snapshots: z.array(RunExecutionData) }),
  }),
  continueRun: route("GET", `${SNAPSHOT}/continue`, { auth: "worker", params: SnapshotParams, reply: ExecutionResult }),
  /** Reports the end of a suspension. Always `ok` when processed; `accepted` is ours and absent from a foreign platform. */
  completeSuspension: route("POST", `${SNAPSHOT}/suspend`, {
    auth: "worker",
    params: SnapshotParams,
    body: SuspendBody,
    reply: Ok.extend({ accepted: z.boolean().optional(), checkpointId: z.string().optional() }),
  }),
  restoreOutcome: route("POST", `${SNAPSHOT}/restore-outcome`, {
    auth: "worker",
    params: SnapshotParams,
    body: RestoreOutcomeBody,
    reply: Ok,
  }),
  /** Gives back a run that was dequeued and never started. `requeued` is false when its budget is spent and it has failed. */
  release: route("POST", `${SNAPSHOT}/release`, {
    auth: "worker",
    params: SnapshotParams,
    body: z.object({ reason: z.string().min(1).max(256) }),
    reply: Ok.extend({ requeued: z.boolean() }),
  }),
  debugLog: route("POST", `${RUN}/logs/debug`, {
    auth: "worker",
    params: RunParams,
    body: z.object({ time: WireDate, message: z.string(), properties: z.record(z.string(), z.unknown()).optional() }),
    reply: z.undefined(),
    status: 204,
  }),
  /** Ours: adds to a run's timeline. */
  timeline: route("POST", `${RUN}/timeline`, {
    auth: "worker",
    params: RunParams,
    body: z.object({ events: z.array(TimelineEvent).min(1).max(100) }),
    reply: Ok,
  }),
  /** Ours: which of these memory images may still be restored; a gateway's files of all others can go (L7). */
  liveCheckpoints: route("POST", `${PREFIX}/checkpoints/live`, {
    auth: "worker",
    body: z.object({ locations: z.array(z.string().max(1024)).max(10_000) }),
    reply: z.object({ live: z.array(z.string()) }),
    bodyLimitBytes: 4 * 1024 * 1024,
  }),
} as const;

/** Namespace, events and payloads of the socket between supervisor and platform; the runner's socket uses the same `run:notify`. */
export const WORKER_SOCKET = {
  namespace: "/worker",
  subscribe: "run:subscribe",
  unsubscribe: "run:unsubscribe",
  notify: "run:notify",
  /** Beyond the shared protocol: an environment has another current version. Nobody need subscribe, and nothing hangs on it. */
  promoted: "deployment:promoted",
} as const;
export const DeploymentPromoted = z.object({ version: z.literal("1"), environmentId: z.string().max(128) });
export const RunSubscription = z.object({ version: z.literal("1"), runFriendlyIds: z.array(z.string().max(128)).max(10_000) });
export const RunNotification = z.object({ version: z.literal("1"), run: z.object({ friendlyId: z.string() }) });
export type RunNotification = z.infer<typeof RunNotification>;
