import type { BatchItem, BatchView, EnvironmentRef, Refusal } from "../api.ts";
import { storedKey } from "../domain/idempotency.ts";
import { internalError } from "../domain/runErrors.ts";
import { friendly, newId } from "../domain/ids.ts";
import {
  batchItems,
  countItems,
  insertBatch,
  lockBatch,
  readBatch,
  setBatchStatus,
  setItem,
  shareBatch,
  takeIndex,
  type BatchRow,
} from "../sql/batches.ts";
import type { Transaction } from "../sql/database.ts";
import { claimKey, lockKey, moveKey } from "../sql/idempotency.ts";
import { insertRun } from "../sql/newRuns.ts";
import { lockRun, readRun, type RunRow } from "../sql/runs.ts";
import { dropTimer, moveTimer } from "../sql/timers.ts";
import { insertItemEdge, insertWaitpoint } from "../sql/waitpoints.ts";
import { block, cannotWait } from "./blocking.ts";
import { idBody, notFound, now, refuse, type Core } from "./core.ts";
import { lookAtBatchSoon } from "./finish.ts";
import { draft, triggerIn, type BatchOfItem } from "./trigger.ts";

// Batches come in two phases: made (which blocks the parent at once), then filled item by item, then sealed.

export interface BatchInput {
  readonly runCount: number;
  readonly parentRunId?: string;
  readonly resumeParentOnCompletion?: boolean;
  readonly idempotencyKey?: string;
  readonly idempotencyKeyExpiresAt?: Date;
}

export type CreateBatchOutcome =
  | { readonly kind: "created"; readonly batchId: string; readonly isCached: boolean; readonly runCount: number }
  | Refusal;

/** Largest batch; the SDK's own limit is lower. */
const MAX_RUN_COUNT = 10_000;

export async function createBatch(core: Core, env: EnvironmentRef, input: BatchInput): Promise<CreateBatchOutcome> {
  if (!Number.isInteger(input.runCount) || input.runCount < 1 || input.runCount > MAX_RUN_COUNT) {
    return refuse(
      "request_invalid",
      `Cannot create a batch: runCount must be a whole number from 1 to ${MAX_RUN_COUNT}, and is ${input.runCount}`,
      "runCount",
    );
  }
  return core.db.transaction(async (tx) => {
    const at = now(core);
    const waits = input.resumeParentOnCompletion === true;
    const parent = await findParent(tx, env, input.parentRunId, waits);
    if (parent !== undefined && "kind" in parent) return parent;
    const id = newId(at.getTime(), core.random);
    const existing = await claimBatchKey(core, tx, env, input, id, at);
    if (existing !== undefined)
      return { kind: "created", batchId: friendly("batch", existing.id), isCached: true, runCount: existing.run_count };
    const waitpointId = waits && parent !== undefined ? newId(at.getTime(), core.random) : undefined;
    await insertBatch(tx, {
      id,
      environmentId: env.id,
      runCount: input.runCount,
      parentRunId: parent?.id,
      resumesParent: waits,
      waitpointId,
      idempotencyKey: input.idempotencyKey,
      at,
    });
    if (waitpointId !== undefined && parent !== undefined) {
      await insertWaitpoint(tx, { id: waitpointId, environmentId: env.id, type: "BATCH", at, byBatchId: id });
      await block(core, tx, parent, { at, waitpointId, description: `Waits for a batch of ${input.runCount}`, batchId: id, isNew: true });
    }
    const sealBy = new Date(at.getTime() + core.settings.batchSealLimitMs);
    await moveTimer(tx, "batchSeal", id, sealBy);
    tx.afterCommit(() => core.wakes.timer(sealBy));
    return { kind: "created", batchId: friendly("batch", id), isCached: false, runCount: input.runCount };
  });
}

async function findParent(
  tx: Transaction,
  env: EnvironmentRef,
  parentRunId: string | undefined,
  waits: boolean,
): Promise<RunRow | Refusal | undefined> {
  if (parentRunId === undefined) return undefined;
  const body = idBody("run", parentRunId);
  const parent = waits ? await lockRun(tx, body) : await readRun(tx, body);
  if (parent === undefined || parent.environment_id !== env.id) {
    return refuse(
      "request_unprocessable",
      `Cannot create a batch: there is no parent run ${parentRunId} in this environment`,
      "parentRunId",
    );
  }
  return waits ? (cannotWait(parent) ?? parent) : parent;
}

async function claimBatchKey(
  core: Core,
  tx: Transaction,
  env: EnvironmentRef,
  input: BatchInput,
  id: string,
  at: Date,
): Promise<BatchRow | undefined> {
  if (input.idempotencyKey === undefined) return undefined;
  const key = storedKey(input.idempotencyKey);
  const expiresAt = input.idempotencyKeyExpiresAt ?? new Date(at.getTime() + core.settings.idempotencyKeyTtlMs);
  for (;;) {
    if (await claimKey(tx, env.id, "batch", key, id, expiresAt)) return undefined;
    const row = await lockKey(tx, env.id, "batch", key);
    if (row === undefined) continue;
    const batch = await readBatch(tx, row.subject_id);
    const counts = batch !== undefined && batch.status !== "ABORTED" && (row.expires_at === null || row.expires_at > at);
    if (counts) return batch;
    await moveKey(tx, env.id, "batch", key, id, expiresAt);
    return undefined;
  }
}

export type AddItemOutcome = { readonly kind: "accepted" | "duplicate" } | Refusal;

/** One item of a batch. An index counts once: clients send whole streams again. What cannot be triggered becomes a failed run. */
export async function addBatchItem(core: Core, env: EnvironmentRef, batchId: string, item: BatchItem): Promise<AddItemOutcome> {
  return core.db.transaction(async (tx) => {
    const batch = await shareBatch(tx, idBody("batch", batchId));
    if (batch === undefined || batch.environment_id !== env.id) return notFound("batch", batchId);
    if (batch.status === "ABORTED") return refuse("request_unprocessable", `Cannot add to batch ${batchId}: it was aborted`);
    if (!Number.isInteger(item.index) || item.index < 0 || item.index >= batch.run_count) {
      return refuse(
        "request_invalid",
        `Cannot add to batch ${batchId}: index ${item.index} is not within 0 and ${batch.run_count - 1}`,
        "index",
      );
    }
    if (!(await takeIndex(tx, batch.id, item.index))) return { kind: "duplicate" };
    const parent =
      batch.parent_run_id !== null && batch.waitpoint_id !== null
        ? { runId: batch.parent_run_id, waitpointId: batch.waitpoint_id }
        : undefined;
    const place: BatchOfItem = { id: batch.id, index: item.index, parent };
    const options = {
      ...item.options,
      resumeParentOnCompletion: batch.resumes_parent,
      ...(batch.parent_run_id === null ? {} : { parentRunId: friendly("run", batch.parent_run_id) }),
    };
    const outcome =
      item.failure === undefined
        ? await triggerIn(core, tx, env, item.task, options, place)
        : { kind: "refused" as const, ...item.failure };
    if (outcome.kind === "triggered") await setItem(tx, batch.id, item.index, { runId: idBody("run", outcome.runId) });
    else await failItem(core, tx, env, batch, place, item, outcome);
    return { kind: "accepted" };
  });
}

/** A run that failed before it began stands in for the item, so that its parent hears of it and the batch can end. */
async function failItem(
  core: Core,
  tx: Transaction,
  env: EnvironmentRef,
  batch: BatchRow,
  place: BatchOfItem,
  item: BatchItem,
  why: Pick<Refusal, "message"> & { readonly code: string },
): Promise<void> {
  const at = now(core);
  const error = internalError("BATCH_ITEM_COULD_NOT_TRIGGER", why.message);
  const { idempotencyKey: _key, requestKey: _request, ...options } = item.options;
  const parent = batch.parent_run_id === null ? undefined : await readRun(tx, batch.parent_run_id);
  const run = draft(core, env, item.task, options, at, {
    item: place,
    parent,
    isWaitedFor: place.parent !== undefined,
    failedWith: { status: "SYSTEM_FAILURE", error },
  });
  await insertRun(tx, run);
  if (place.parent !== undefined) {
    const waitpointId = newId(at.getTime(), core.random);
    await insertWaitpoint(tx, {
      id: waitpointId,
      environmentId: env.id,
      type: "RUN",
      at,
      isCompleted: true,
      isError: true,
      byRunId: run.id,
    });
    await insertItemEdge(tx, place.parent.waitpointId, {
      runId: place.parent.runId,
      waitpointId,
      batchId: batch.id,
      batchIndex: item.index,
      at,
    });
  }
  await setItem(tx, batch.id, item.index, { runId: run.id, error: why.message, errorCode: why.code });
}

export type SealOutcome =
  | { readonly kind: "counted"; readonly sealed: boolean; readonly itemCount: number; readonly expectedCount: number }
  | Refusal;

/** Says that all items were sent. With fewer than announced nothing is sealed, and the client sends them again. */
export async function sealBatch(core: Core, env: EnvironmentRef, batchId: string): Promise<SealOutcome> {
  return core.db.transaction(async (tx) => {
    const batch = await lockBatch(tx, idBody("batch", batchId));
    if (batch === undefined || batch.environment_id !== env.id) return notFound("batch", batchId);
    if (batch.status === "ABORTED") return refuse("request_unprocessable", `Cannot seal batch ${batchId}: it was aborted`);
    const itemCount = await countItems(tx, batch.id);
    const sealed = batch.status !== "PENDING" || itemCount >= batch.run_count;
    if (batch.status === "PENDING" && sealed) {
      const at = now(core);
      await setBatchStatus(tx, batch.id, "PROCESSING", at, { sealedAt: at });
      await dropTimer(tx, "batchSeal", batch.id);
      await lookAtBatchSoon(core, tx, batch.id, at);
    }
    return { kind: "counted", sealed, itemCount, expectedCount: batch.run_count };
  });
}

export async function getBatch(core: Core, env: EnvironmentRef, batchId: string): Promise<BatchView | null> {
  const batch = await readBatch(core.db, idBody("batch", batchId));
  if (batch === undefined || batch.environment_id !== env.id) return null;
  const items = await batchItems(core.db, batch.id);
  return {
    id: friendly("batch", batch.id),
    status: batch.status,
    runCount: batch.run_count,
    runIds: items.map((item) => friendly("run", item.run_id)),
    idempotencyKey: batch.idempotency_key,
    createdAt: batch.created_at,
    updatedAt: batch.updated_at,
    completedAt: batch.completed_at,
    errors: items.flatMap((item) => (item.error === null ? [] : [{ index: item.index, error: item.error, code: item.error_code }])),
  };
}
