import type { IncomingHttpHeaders } from "node:http";
import type { Readable } from "node:stream";
import { BatchLine, TorporError, sdkBatches, type BatchItemBody, type TaskRunExecutionResult } from "@torpor/contracts";
import type { BatchItem, BatchView, EngineForEnvironment, EnvironmentRef } from "@torpor/engine";
import { Answer, type Mounted } from "@torpor/http";
import type { Clock, Random } from "@torpor/kernel";
import { z } from "zod";
import { mount, type SdkCaller } from "../auth/callers.ts";
import type { OneTimeTokens } from "../auth/oneTimeTokens.ts";
import { requireScope } from "../auth/scopes.ts";
import type { TokenHeaders } from "../auth/tokenHeaders.ts";
import { addItems, itemFailure } from "../batches/addItems.ts";
import { ndjsonLines, type NdjsonLine } from "../batches/ndjson.ts";
import { given } from "../given.ts";
import { accepted, found } from "../refusal.ts";
import { triggerOptions, type TriggerLimits } from "../runs/triggerOptions.ts";
import { executionResult } from "../runs/view.ts";
import { origin, requestKeyOf } from "./trigger.ts";

export interface BatchLimits extends TriggerLimits {
  readonly maxBatchSize: number;
  readonly maxBatchLineBytes: number;
  readonly maxBatchBytes: number;
}

export interface BatchDeps {
  readonly engine: Pick<EngineForEnvironment, "createBatch" | "addBatchItem" | "sealBatch" | "getBatch" | "getRun">;
  readonly clock: Clock;
  readonly random: Random;
  readonly limits: BatchLimits;
  readonly oneTimeTokens: OneTimeTokens;
  readonly tokenHeaders: TokenHeaders;
}

/** Clients give up long before. */
const REPEATS_WITHIN_MS = 3_600_000;
/** Answers to those who ask for a batch's runs are put together from this many reads at once. */
const READS_AT_ONCE = 16;

export function batchRoutes(deps: BatchDeps): Mounted[] {
  return [createRoute(deps), streamRoute(deps), triggerAllRoute(deps), ...readRoutes(deps)];
}

function createRoute({ engine, limits, ...deps }: BatchDeps): Mounted {
  return mount(sdkBatches.create, async ({ body, caller, headers }) => {
    requireBatchScope(caller, Array.isArray(body["taskIdentifiers"]) ? body["taskIdentifiers"].map(String) : []);
    checkSize(body.runCount, "runCount", limits);
    await deps.oneTimeTokens.use(caller.token, requestKeyOf(headers));
    const { runCount, parentRunId, resumeParentOnCompletion, idempotencyKey } = body;
    const key = idempotencyKey === undefined ? requestAsKey(headers, deps.clock) : { idempotencyKey };
    const batch = accepted(await engine.createBatch(caller.env, { runCount, ...given({ parentRunId, resumeParentOnCompletion }), ...key }));
    // A client that is told "cached" sends no items. One whose first answer was lost must send them.
    const isCached = batch.isCached && (await engine.getBatch(caller.env, batch.batchId))?.status !== "PENDING";
    const reply = { id: batch.batchId, runCount: batch.runCount, isCached, ...given({ idempotencyKey }) };
    return new Answer(reply, { headers: await headersFor(deps.tokenHeaders, caller, batch.batchId) });
  });
}

function streamRoute(deps: BatchDeps): Mounted {
  const { engine, limits } = deps;
  return mount(sdkBatches.streamItems, async ({ params, body, caller, headers }) => {
    const batch = { env: caller.env, batchId: params.batchId };
    found(await engine.getBatch(caller.env, params.batchId), "batch", params.batchId);
    const stream = body as Readable;
    const lines = ndjsonLines(stream.iterator({ destroyOnReturn: false }), {
      maxLineBytes: limits.maxBatchLineBytes,
      maxTotalBytes: limits.maxBatchBytes,
    });
    const added = await addItems(engine, batch, allowedItems(streamedItems(lines, deps, headers), caller, params.batchId)).finally(() => {
      // What was not read is let past: else the answer to a refusal would be lost with the connection.
      stream.resume();
    });
    const seal = accepted(await engine.sealBatch(caller.env, params.batchId));
    const counts = { id: params.batchId, itemsAccepted: added.accepted, itemsDeduplicated: added.duplicates, sealed: seal.sealed };
    return seal.sealed ? counts : { ...counts, enqueuedCount: seal.itemCount, expectedCount: seal.expectedCount };
  });
}

/** The token that made the batch names tasks; the one that the batch was answered with names the batch. */
async function* allowedItems(items: AsyncIterable<BatchItem>, caller: SdkCaller, batchId: string): AsyncGenerator<BatchItem> {
  for await (const item of items) {
    requireScope(caller, "batchTrigger", { type: "batch", id: batchId }, { type: "tasks", id: item.task });
    yield item;
  }
}

async function* streamedItems(lines: AsyncIterable<NdjsonLine>, deps: BatchDeps, headers: IncomingHttpHeaders): AsyncGenerator<BatchItem> {
  for await (const line of lines) {
    if (line.kind === "line") {
      const item = parsedLine(line.number, line.text);
      yield batchItem(item, item.index, deps, headers);
    } else yield oversizedItem(line, deps.limits);
  }
}

function parsedLine(number: number, text: string): BatchLine {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new TorporError("body_malformed", `Cannot read line ${number} as JSON: ${(error as Error).message}`, {
      param: `line ${number}`,
      cause: error,
    });
  }
  const parsed = BatchLine.safeParse(json);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const param = `line ${number}: ${issue === undefined || issue.path.length === 0 ? "item" : z.core.toDotPath(issue.path)}`;
  throw new TorporError("request_invalid", `Cannot use ${param}: ${issue?.message ?? "is not valid"}`, { param });
}

function oversizedItem(line: NdjsonLine & { kind: "oversized" }, limits: BatchLimits): BatchItem {
  const { number, sizeBytes, index, task } = line;
  const message = `Cannot take line ${number}: ${sizeBytes} bytes are more than ${limits.maxBatchLineBytes}`;
  if (index === undefined || task === undefined)
    throw new TorporError("body_too_large", `${message}, and it has no "index" and "task" to tell which item it is`, {
      param: `line ${number}`,
    });
  return { index, task, options: { payloadType: "application/json" }, failure: { code: "PAYLOAD_TOO_LARGE", message } };
}

function batchItem(item: BatchItemBody, index: number, deps: BatchDeps, headers: IncomingHttpHeaders): BatchItem {
  // The request's key stands for the whole request; items are told apart by their index.
  const { requestKey: _, ...from } = origin(headers, deps.random);
  try {
    const options = triggerOptions(
      { payload: item.payload, options: item.options, path: `items[${index}].options` },
      deps.clock.nowMs(),
      deps.limits,
    );
    return { index, task: item.task, options: { ...options, ...from } };
  } catch (error) {
    return { index, task: item.task, options: { payloadType: "application/json", ...from }, failure: itemFailure(error) };
  }
}

function triggerAllRoute(deps: BatchDeps): Mounted {
  const { engine, limits } = deps;
  return mount(sdkBatches.triggerAll, async ({ body, caller, headers }) => {
    requireBatchScope(caller, [...new Set(body.items.map((item) => item.task))]);
    checkSize(body.items.length, "items", limits);
    await deps.oneTimeTokens.use(caller.token, requestKeyOf(headers));
    const { parentRunId, resumeParentOnCompletion } = body;
    const announced = {
      runCount: body.items.length,
      ...given({ parentRunId, resumeParentOnCompletion }),
      ...requestAsKey(headers, deps.clock),
    };
    const { batchId } = accepted(await engine.createBatch(caller.env, announced));
    await addItems(
      engine,
      { env: caller.env, batchId },
      body.items.map((item, index) => batchItem(item, index, deps, headers)),
    );
    accepted(await engine.sealBatch(caller.env, batchId));
    return new Answer({ id: batchId, runCount: body.items.length }, { headers: await headersFor(deps.tokenHeaders, caller, batchId) });
  });
}

function readRoutes({ engine }: BatchDeps): Mounted[] {
  const read = async (caller: SdkCaller, batchId: string): Promise<BatchView> => {
    requireScope(caller, "read", { type: "batch", id: batchId });
    return found(await engine.getBatch(caller.env, batchId), "batch", batchId);
  };
  return [
    mount(sdkBatches.retrieveV1, async ({ params, caller }) => batchView(await read(caller, params.batchId))),
    mount(sdkBatches.retrieve, async ({ params, caller }) => {
      const batch = await read(caller, params.batchId);
      const errors = batch.errors.map(({ index, error, code }) => ({ index, taskIdentifier: "", error, ...given({ errorCode: code }) }));
      return { ...batchView(batch), processing: { ...given({ completedAt: batch.completedAt }), errors } };
    }),
    mount(sdkBatches.results, async ({ params, caller }) => {
      const batch = await read(caller, params.batchId);
      return { id: batch.id, items: await resultsOf(engine, caller.env, batch.runIds) };
    }),
  ];
}

async function resultsOf(engine: BatchDeps["engine"], env: EnvironmentRef, runIds: readonly string[]): Promise<TaskRunExecutionResult[]> {
  const results: TaskRunExecutionResult[] = [];
  for (let at = 0; at < runIds.length; at += READS_AT_ONCE) {
    const runs = await Promise.all(runIds.slice(at, at + READS_AT_ONCE).map((id) => engine.getRun(env, id)));
    for (const run of runs) {
      const result = run === null ? undefined : executionResult(run);
      if (result !== undefined) results.push(result);
    }
  }
  return results;
}

function batchView(batch: BatchView) {
  const { id, status, createdAt, updatedAt, runCount, idempotencyKey } = batch;
  return { id, status, createdAt, updatedAt, runCount, runs: [...batch.runIds], ...given({ idempotencyKey }) };
}

/** A request that is repeated because its answer was lost makes one batch: else the first would wait for its items, and block its parent. */
function requestAsKey(headers: IncomingHttpHeaders, clock: Clock): { idempotencyKey?: string; idempotencyKeyExpiresAt?: Date } {
  const requestKey = requestKeyOf(headers);
  return requestKey === undefined
    ? {}
    : { idempotencyKey: `request:${requestKey}`, idempotencyKeyExpiresAt: new Date(clock.nowMs() + REPEATS_WITHIN_MS) };
}

/** A public token must allow every task that the batch names; one that names none needs the right to all. */
function requireBatchScope(caller: SdkCaller, tasks: readonly string[]): void {
  if (tasks.length === 0) requireScope(caller, "batchTrigger");
  for (const id of tasks) requireScope(caller, "batchTrigger", { type: "tasks", id });
}

function checkSize(count: number, param: string, limits: BatchLimits): void {
  if (count > limits.maxBatchSize)
    throw new TorporError(
      "request_unprocessable",
      `Cannot use ${param}: ${count} items are more than ${limits.maxBatchSize}; send several batches`,
      { param },
    );
}

function headersFor(tokenHeaders: TokenHeaders, caller: SdkCaller, batchId: string): Promise<Record<string, string>> {
  return tokenHeaders.for(caller, { scopes: [`read:batch:${batchId}`, `batchTrigger:batch:${batchId}`], expirationTime: "1h" });
}
