import {
  machinePreset,
  type BaseRun,
  type Checkpoint,
  type CompletedWaitpoint,
  type DequeuedMessage,
  type ExecutionResult,
  type ExecutionSnapshot,
} from "@torpor/contracts";
import { friendly } from "../domain/ids.ts";
import type { CheckpointRow } from "../sql/checkpoints.ts";
import type { CompletedRow } from "../sql/completed.ts";
import type { RunRow } from "../sql/runs.ts";

// Rows as they stand on the wire.

export function wireSnapshot(run: RunRow): ExecutionSnapshot {
  return {
    id: run.snapshot_id,
    friendlyId: friendly("snapshot", run.snapshot_id),
    executionStatus: run.execution_status,
    description: run.snapshot_description,
    createdAt: run.snapshot_at,
  };
}

/** Every snapshot after the start carries the attempt's number; runners abandon a run whose number is not theirs. */
export function wireRun(run: RunRow): BaseRun {
  return {
    id: run.id,
    friendlyId: friendly("run", run.id),
    status: run.snapshot_run_status,
    attemptNumber: run.attempt_number > 0 ? run.attempt_number : null,
  };
}

export function wireResult(run: RunRow): ExecutionResult {
  return { snapshot: wireSnapshot(run), run: wireRun(run) };
}

export function wireCheckpoint(row: CheckpointRow): Checkpoint {
  return {
    id: row.id,
    friendlyId: friendly("checkpoint", row.id),
    type: row.type,
    location: row.location,
    imageRef: row.image_ref,
    reason: row.reason,
  };
}

export function reference(prefix: "run" | "batch", id: string): { id: string; friendlyId: string } {
  return { id, friendlyId: friendly(prefix, id) };
}

/** Runs of a batch carry their batch and index, by which the task's promise is found; others carry neither. */
export function wireWaitpoint(row: CompletedRow): CompletedWaitpoint {
  const batch = row.type === "RUN" && row.batch_id !== null ? { batch: reference("batch", row.batch_id) } : {};
  return {
    id: row.id,
    friendlyId: friendly("waitpoint", row.id),
    type: row.type,
    completedAt: row.completed_at,
    outputIsError: row.output_is_error,
    ...(row.batch_index === null ? {} : { index: row.batch_index }),
    ...(row.idempotency_key === null ? {} : { idempotencyKey: row.idempotency_key }),
    ...(row.by_run_id === null ? {} : { completedByTaskRun: { ...reference("run", row.by_run_id), ...batch } }),
    ...(row.completes_after === null ? {} : { completedAfter: row.completes_after }),
    ...(row.by_batch_id === null ? {} : { completedByBatch: reference("batch", row.by_batch_id) }),
    ...(row.output === null ? {} : { output: row.output }),
    ...(row.output_type === null ? {} : { outputType: row.output_type }),
  };
}

export interface HandedOut {
  readonly run: RunRow;
  readonly at: Date;
  readonly image: string | null;
  readonly worker: { readonly id: string; readonly version: string; readonly runtime: string };
  readonly checkpoint: CheckpointRow | undefined;
  readonly completed: readonly CompletedRow[];
  readonly isTest: boolean;
  readonly traceContext: Record<string, unknown>;
  readonly annotations: Record<string, unknown>;
  readonly organizationId: string;
  readonly projectId: string;
  readonly masterQueue: string;
}

export function wireMessage(h: HandedOut): DequeuedMessage {
  const { run } = h;
  const deploymentId = run.deployment_id ?? "";
  return {
    version: "1",
    snapshot: wireSnapshot(run),
    dequeuedAt: h.at,
    ...(h.image === null ? {} : { image: h.image }),
    ...(h.checkpoint === undefined
      ? {}
      : {
          checkpoint: {
            id: h.checkpoint.id,
            type: h.checkpoint.type,
            location: h.checkpoint.location,
            imageRef: h.checkpoint.image_ref,
            reason: h.checkpoint.reason,
          },
        }),
    completedWaitpoints: h.completed.map(wireWaitpoint),
    backgroundWorker: {
      id: h.worker.id,
      friendlyId: friendly("worker", h.worker.id),
      version: h.worker.version,
      runtime: h.worker.runtime,
    },
    deployment: { id: deploymentId, friendlyId: friendly("deployment", deploymentId) },
    run: {
      id: run.id,
      friendlyId: friendly("run", run.id),
      isTest: h.isTest,
      isReplay: false,
      machine: machinePreset(run.machine ?? "small-1x"),
      // a sleeping attempt goes on under its number, another begins
      attemptNumber: h.checkpoint === undefined ? run.attempt_number + 1 : run.attempt_number,
      masterQueue: h.masterQueue,
      traceContext: h.traceContext,
      annotations: h.annotations,
    },
    environment: { id: run.environment_id, type: run.environment_type },
    organization: { id: h.organizationId },
    project: { id: h.projectId },
  };
}
