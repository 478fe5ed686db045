import * as theirRun from "@trigger.dev/core/v3/schemas";
import * as theirWorker from "@trigger.dev/core/v3/runEngineWorker";
import { describe, expect, it } from "vitest";
import type { z } from "zod";
import * as ours from "./index.ts";

const AT = "2026-11-24T08:00:00.000Z";
const snapshot = { id: "a1", friendlyId: "snapshot_a1", executionStatus: "EXECUTING", description: "Attempt started", createdAt: AT };
const run = { id: "r1", friendlyId: "run_r1", status: "EXECUTING", attemptNumber: 1 };
const machine = { name: "small-1x", cpu: 0.5, memory: 0.5, centsPerMs: 0 };

const childDone = {
  id: "w1",
  index: 0,
  friendlyId: "waitpoint_w1",
  type: "RUN",
  completedAt: AT,
  completedByTaskRun: { id: "r2", friendlyId: "run_r2", batch: { id: "b1", friendlyId: "batch_b1" } },
  output: "{}",
  outputType: "application/json",
  outputIsError: false,
};

const execution = {
  attempt: { number: 1, startedAt: AT },
  run: {
    id: "run_r1",
    payload: "{}",
    payloadType: "application/json",
    createdAt: AT,
    tags: [],
    isTest: false,
    isReplay: false,
    startedAt: AT,
  },
  task: { id: "nap", filePath: "src/nap.ts" },
  queue: { id: "queue_q1", name: "task/nap" },
  environment: { id: "e1", slug: "prod", type: "PRODUCTION" },
  organization: { id: "o1", slug: "org", name: "Org" },
  project: { id: "p1", ref: "proj_p1", slug: "p", name: "P" },
  machine,
  deployment: { id: "deployment_d1", shortCode: "abc", version: "20261124.1", runtime: "node", runtimeVersion: "24" },
};

const dequeued = {
  version: "1",
  snapshot: { ...snapshot, executionStatus: "PENDING_EXECUTING" },
  dequeuedAt: AT,
  image: "torpor/proj@sha256:00",
  checkpoint: { id: "checkpoint_c1", type: "COMPUTE", location: "mem_0123456789" },
  completedWaitpoints: [childDone],
  backgroundWorker: { id: "bw1", friendlyId: "worker_bw1", version: "20261124.1" },
  deployment: { id: "d1", friendlyId: "deployment_d1" },
  run: { id: "r1", friendlyId: "run_r1", isTest: false, isReplay: false, machine, attemptNumber: 1, masterQueue: "main", traceContext: {} },
  environment: { id: "e1", type: "PRODUCTION" },
  organization: { id: "o1" },
  project: { id: "p1" },
};

/** Our schema, the npm package's, and values that travel in both directions. */
const PAIRS: readonly (readonly [
  name: string,
  our: z.ZodType,
  their: { safeParse(value: unknown): { success: boolean; error?: unknown } },
  value: unknown,
])[] = [
  ["dequeued message", ours.DequeuedMessage, theirRun.DequeuedMessage, dequeued],
  [
    "execution data",
    ours.RunExecutionData,
    theirRun.RunExecutionData,
    { version: "1", snapshot, run, completedWaitpoints: [childDone], torporWait: { types: ["RUN"], knownEndAt: AT } },
  ],
  [
    "execution data with checkpoint and batch",
    ours.RunExecutionData,
    theirRun.RunExecutionData,
    {
      version: "1",
      snapshot,
      run,
      batch: { id: "b1", friendlyId: "batch_b1" },
      checkpoint: { ...dequeued.checkpoint, friendlyId: "checkpoint_c1" },
      completedWaitpoints: [],
    },
  ],
  ["start answer", ours.StartResult, theirWorker.WorkloadRunAttemptStartResponseBody, { snapshot, run, execution, envVars: { A: "1" } }],
  [
    "completion of a success",
    ours.workload.completeAttempt.body,
    theirWorker.WorkloadRunAttemptCompleteRequestBody,
    {
      completion: {
        ok: true,
        id: "run_r1",
        output: "1",
        outputType: "application/json",
        usage: { durationMs: 3 },
        flushedMetadata: { dataType: "application/json" },
      },
    },
  ],
  [
    "completion of a failure that asks for a retry",
    ours.workload.completeAttempt.body,
    theirWorker.WorkloadRunAttemptCompleteRequestBody,
    {
      completion: {
        ok: false,
        id: "run_r1",
        error: { type: "BUILT_IN_ERROR", name: "Error", message: "no", stackTrace: "at x" },
        retry: { timestamp: 1, delay: 2 },
        skippedRetrying: false,
      },
    },
  ],
  [
    "answer to a completion",
    ours.workload.completeAttempt.reply,
    theirWorker.WorkloadRunAttemptCompleteResponseBody,
    { result: { attemptStatus: "RETRY_IMMEDIATELY", snapshot, run } },
  ],
  [
    "snapshots since",
    ours.workload.snapshotsSince.reply,
    theirWorker.WorkloadRunSnapshotsSinceResponseBody,
    { snapshots: [{ version: "1", snapshot, run, completedWaitpoints: [] }] },
  ],
  ["suspend answer", ours.SuspendReply, theirWorker.WorkloadSuspendRunResponseBody, { ok: true }],
  ["suspend refusal", ours.SuspendReply, theirWorker.WorkloadSuspendRunResponseBody, { ok: false, error: "no" }],
  ["continue answer", ours.workload.continueRun.reply, theirWorker.WorkloadContinueRunExecutionResponseBody, { snapshot, run }],
  [
    "suspend completion",
    ours.SuspendBody,
    theirWorker.WorkerApiSuspendRunRequestBody,
    { success: true, checkpoint: { type: "COMPUTE", location: "mem_0123456789" } },
  ],
  ["failed suspension", ours.SuspendBody, theirWorker.WorkerApiSuspendRunRequestBody, { success: false, error: "disk full" }],
];

describe("our schemas and those of the npm package", () => {
  for (const [name, our, their, value] of PAIRS) {
    it(`agree on: ${name}`, () => {
      expect(our.safeParse(value).error).toBeUndefined();
      expect(their.safeParse(value).error).toBeUndefined();
    });

    it(`what ours makes of it is still theirs: ${name}`, () => {
      const sent: unknown = JSON.parse(JSON.stringify(our.parse(value)));
      expect(their.safeParse(sent).error).toBeUndefined();
    });
  }

  it("have the same execution statuses, run statuses and attempt statuses", () => {
    const options = (schema: unknown): string[] => Object.values((schema as { enum: Record<string, string> }).enum).sort();
    expect(options(ours.ExecutionStatus)).toEqual(Object.values(theirRun.TaskRunExecutionStatus).sort());
    expect(options(ours.RunStatus)).toEqual(Object.values(theirRun.TaskRunStatus).sort());
  });
});
