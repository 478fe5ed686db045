import { TorporError, type RunStatus, type TaskRunError } from "@torpor/contracts";
import type { EnvironmentRef, Refusal, TriggerOptions, TriggerOutcome } from "../api.ts";
import { annotationsOf, type Annotations } from "../domain/annotations.ts";
import { isFinal, keyStillCounts, storedKey } from "../domain/idempotency.ts";
import { bodyOf, friendly, newId, snapshotIdBody } from "../domain/ids.ts";
import { sanitizeQueueName, scoreAt, taskQueueName } from "../domain/queueing.ts";
import type { Queryable, Transaction } from "../sql/database.ts";
import { deploymentByVersion, queueOfTask, type DeploymentRow } from "../sql/deployments.ts";
import { claimKey, lockKey, moveKey } from "../sql/idempotency.ts";
import { insertRun, runOfRequest, type NewRun } from "../sql/newRuns.ts";
import { queueExists } from "../sql/queues.ts";
import { annotationsOfRun, lockRun, readRun, type RunRow } from "../sql/runs.ts";
import { insertItemEdge, insertWaitpoint } from "../sql/waitpoints.ts";
import { block, cannotWait, ensureRunWaitpoint } from "./blocking.ts";
import { now, refuse, type Core } from "./core.ts";

/** Of a batch that triggers: where its items' waits go. */
export interface BatchOfItem {
  readonly id: string;
  readonly index: number;
  readonly parent: { readonly runId: string; readonly waitpointId: string } | undefined;
}

/** A plain trigger is one statement. Whatever needs another row first is a transaction. */
export async function trigger(core: Core, env: EnvironmentRef, task: string, options: TriggerOptions): Promise<TriggerOutcome> {
  const needsMore = options.parentRunId !== undefined || options.idempotencyKey !== undefined || options.lockToVersion !== undefined;
  if (needsMore) return core.db.transaction((tx) => triggerIn(core, tx, env, task, options));
  const at = now(core);
  const run = draft(core, env, task, options, at, {});
  const made = await insertRun(core.db, run);
  if (made === undefined) return repeated(core.db, env, options);
  announce(core, run, made.ttl_seconds, at);
  return { kind: "triggered", runId: friendly("run", run.id), isCached: false };
}

/** Triggers inside a transaction: with a parent, a key, a fixed version, or as an item of a batch. */
export async function triggerIn(
  core: Core,
  tx: Transaction,
  env: EnvironmentRef,
  task: string,
  options: TriggerOptions,
  item?: BatchOfItem,
): Promise<TriggerOutcome> {
  const at = now(core);
  const waits = options.resumeParentOnCompletion === true && item === undefined;
  const parent = await findParent(tx, env, options, waits);
  if (parent !== undefined && "kind" in parent) return parent;
  const locked = await findVersion(tx, env, task, options);
  if (locked !== undefined && "kind" in locked) return locked;

  const id = newId(at.getTime(), core.random);
  const existing = await claimIdempotency(core, tx, env, task, options, id, at);
  if (existing !== undefined) {
    if (existing === parent?.id && waits)
      return refuse(
        "request_unprocessable",
        `Cannot trigger: run ${friendly("run", existing)} would wait for itself`,
        "options.idempotencyKey",
      );
    await waitForExisting(core, tx, parent, existing, waits, item, at);
    return { kind: "triggered", runId: friendly("run", existing), isCached: true };
  }
  const isWaitedFor = waits || item?.parent !== undefined;
  const parentAnnotations = parent === undefined ? undefined : await annotationsOfRun(tx, parent.id);
  const run = draft(core, env, task, options, at, { id, parent, parentAnnotations, locked, item, isWaitedFor });
  const made = await insertRun(tx, run);
  if (made === undefined) {
    const first = await repeated(tx, env, options);
    if (first.kind === "triggered") await waitForExisting(core, tx, parent, bodyOf("run", first.runId) ?? "", waits, item, at);
    return first;
  }
  if (isWaitedFor) await waitForNew(core, tx, parent, run, item, at);
  tx.afterCommit(() => announce(core, run, made.ttl_seconds, at));
  return { kind: "triggered", runId: friendly("run", run.id), isCached: false };
}

async function findParent(
  tx: Transaction,
  env: EnvironmentRef,
  options: TriggerOptions,
  waits: boolean,
): Promise<RunRow | Refusal | undefined> {
  if (options.parentRunId === undefined) return undefined;
  const body = bodyOf("run", options.parentRunId) ?? "";
  const parent = waits ? await lockRun(tx, body) : await readRun(tx, body);
  if (parent === undefined || parent.environment_id !== env.id) {
    return refuse(
      "request_unprocessable",
      `Cannot trigger: there is no parent run ${options.parentRunId} in this environment`,
      "options.parentRunId",
    );
  }
  if (isFinal(parent.status)) {
    return refuse(
      "request_unprocessable",
      `Cannot trigger: parent run ${options.parentRunId} has ended with status ${parent.status}`,
      "options.parentRunId",
    );
  }
  return waits ? (cannotWait(parent) ?? parent) : parent;
}

async function findVersion(
  tx: Transaction,
  env: EnvironmentRef,
  task: string,
  options: TriggerOptions,
): Promise<DeploymentRow | Refusal | undefined> {
  if (options.lockToVersion === undefined) return undefined;
  const version = options.lockToVersion;
  const deployment = await deploymentByVersion(tx, env.id, version);
  if (deployment === undefined)
    return refuse("request_unprocessable", `Cannot trigger ${task}: there is no version ${version}`, "options.lockToVersion");
  const queue = await queueOfTask(tx, deployment.id, task);
  if (queue === undefined)
    return refuse("request_unprocessable", `Cannot trigger ${task}: version ${version} has no such task`, "options.lockToVersion");
  const wanted = options.queueName;
  if (wanted !== undefined && !(await queueExists(tx, env.id, sanitizeQueueName(wanted)))) {
    return refuse("request_unprocessable", `Cannot trigger ${task}: version ${version} has no queue ${wanted}`, "options.queue.name");
  }
  return deployment;
}

/** Takes the idempotency key for the new run, or answers the run that it stands for. */
async function claimIdempotency(
  core: Core,
  tx: Transaction,
  env: EnvironmentRef,
  task: string,
  options: TriggerOptions,
  id: string,
  at: Date,
): Promise<string | undefined> {
  if (options.idempotencyKey === undefined) return undefined;
  const key = storedKey(options.idempotencyKey);
  const scope = `run/${task}`;
  const expiresAt = options.idempotencyKeyExpiresAt ?? new Date(at.getTime() + core.settings.idempotencyKeyTtlMs);
  for (;;) {
    if (await claimKey(tx, env.id, scope, key, id, expiresAt)) return undefined;
    const row = await lockKey(tx, env.id, scope, key);
    if (row === undefined) continue; // reset since: it is free again
    const run = await readRun(tx, row.subject_id);
    if (run !== undefined && keyStillCounts({ expiresAt: row.expires_at, runStatus: run.status }, at)) return row.subject_id;
    await moveKey(tx, env.id, scope, key, id, expiresAt);
    return undefined;
  }
}

/** A run that exists already is waited for all the same; when it has ended, the parent goes on at once. */
async function waitForExisting(
  core: Core,
  tx: Transaction,
  parent: RunRow | undefined,
  runId: string,
  waits: boolean,
  item: BatchOfItem | undefined,
  at: Date,
): Promise<void> {
  if (item?.parent !== undefined) {
    const waitpoint = await ensureRunWaitpoint(core, tx, runId, at);
    await insertItemEdge(tx, item.parent.waitpointId, {
      runId: item.parent.runId,
      waitpointId: waitpoint.id,
      batchId: item.id,
      batchIndex: item.index,
      at,
    });
  } else if (waits && parent !== undefined) {
    const waitpoint = await ensureRunWaitpoint(core, tx, runId, at);
    await block(core, tx, parent, { at, waitpointId: waitpoint.id, description: "Waits for a run", isNew: false });
  }
}

async function waitForNew(
  core: Core,
  tx: Transaction,
  parent: RunRow | undefined,
  run: NewRun,
  item: BatchOfItem | undefined,
  at: Date,
): Promise<void> {
  const waitpointId = newId(at.getTime(), core.random);
  await insertWaitpoint(tx, { id: waitpointId, environmentId: run.environmentId, type: "RUN", at, byRunId: run.id });
  if (item?.parent !== undefined) {
    await insertItemEdge(tx, item.parent.waitpointId, {
      runId: item.parent.runId,
      waitpointId,
      batchId: item.id,
      batchIndex: item.index,
      at,
    });
  } else if (parent !== undefined) {
    await block(core, tx, parent, { at, waitpointId, description: `Waits for ${run.task}`, isNew: true });
  }
}

/** The same call came before (a client that never got its answer): it gets the same run. */
async function repeated(db: Queryable, env: EnvironmentRef, options: TriggerOptions): Promise<TriggerOutcome> {
  const runId = await runOfRequest(db, env.id, storedKey(options.requestKey ?? ""));
  if (runId === undefined) throw new TorporError("internal", `Cannot find the run of request ${options.requestKey}`);
  return { kind: "triggered", runId: friendly("run", runId), isCached: false };
}

interface Surroundings {
  readonly id?: string;
  readonly parent?: RunRow | undefined;
  readonly parentAnnotations?: Annotations | undefined;
  readonly locked?: DeploymentRow | undefined;
  readonly item?: BatchOfItem | undefined;
  readonly isWaitedFor?: boolean;
  readonly failedWith?: { readonly status: RunStatus; readonly error: TaskRunError };
}

/** The row of a new run. */
export function draft(core: Core, env: EnvironmentRef, task: string, options: TriggerOptions, at: Date, around: Surroundings): NewRun {
  const isDelayed = options.delayUntil !== undefined && options.delayUntil > at;
  const failed = around.failedWith;
  const enqueuedAt = isDelayed && options.delayUntil !== undefined ? options.delayUntil : at;
  const priority = options.priority ?? 0;
  return {
    id: around.id ?? newId(at.getTime(), core.random),
    environmentId: env.id,
    task,
    queueName: options.queueName === undefined ? undefined : sanitizeQueueName(options.queueName),
    defaultQueue: taskQueueName(task),
    concurrencyKey: storedKey(options.concurrencyKey ?? ""),
    executionStatus: failed !== undefined ? "FINISHED" : isDelayed ? "DELAYED" : "QUEUED",
    status: failed !== undefined ? failed.status : isDelayed ? "DELAYED" : "PENDING",
    snapshotId: snapshotIdBody(0, core.random),
    description: failed !== undefined ? "Could not be triggered" : isDelayed ? "Waits for its time" : "Queued",
    deployment: around.locked === undefined ? undefined : { id: around.locked.id, version: around.locked.version },
    machine: options.machine,
    maxAttempts: options.maxAttempts,
    maxDurationSeconds: options.maxDurationSeconds,
    priority,
    score: scoreAt(enqueuedAt, priority),
    ttlSeconds: options.ttlSeconds,
    defaultTtlSeconds: env.type === "DEVELOPMENT" ? core.settings.developmentTtlSeconds : undefined,
    at,
    delayUntil: options.delayUntil,
    payload: options.payload,
    payloadType: options.payloadType,
    metadata: options.metadata,
    metadataType: options.metadataType ?? "application/json",
    tags: options.tags ?? [],
    isTest: options.isTest ?? false,
    traceContext: options.traceContext ?? {},
    annotations: annotationsOf(options.annotations ?? {}, around.parentAnnotations),
    parentRunId: around.parent?.id,
    rootRunId: around.parent === undefined ? undefined : (around.parent.root_run_id ?? around.parent.id),
    depth: around.parent === undefined ? 0 : around.parent.depth + 1,
    resumesParent: options.resumeParentOnCompletion === true,
    batch: around.item === undefined ? undefined : { id: around.item.id, index: around.item.index },
    idempotencyKey: options.idempotencyKey,
    requestKey: options.requestKey === undefined ? undefined : storedKey(options.requestKey),
    hasWaitpoint: around.isWaitedFor === true,
    error: failed?.error,
  };
}

/** Wakes whoever hands runs out, and the loop for the run's timers. */
function announce(core: Core, run: NewRun, ttlSeconds: number | null, at: Date): void {
  if (run.executionStatus === "QUEUED") core.wakes.ready();
  if (run.executionStatus === "QUEUED" && ttlSeconds !== null) core.wakes.timer(new Date(at.getTime() + ttlSeconds * 1000));
  if (run.executionStatus === "DELAYED" && run.delayUntil !== undefined) core.wakes.timer(run.delayUntil);
}
