import type { ListedRun, RelatedRun, RetrievedRun, TaskRunError, TaskRunExecutionResult } from "@torpor/contracts";
import { isOutOfMemory, type EnvironmentRef, type RunView } from "@torpor/engine";
import { given } from "../given.ts";
import { statusFlags, statusName, type StatusNames } from "./status.ts";
import { durationText } from "./times.ts";
import { STORED_TYPE, decodeMetadata, decodeValue } from "./values.ts";

// A run as the SDK sees it. Keys without a value are left out: the SDK's schemas know `undefined`, not `null`.

export interface RelatedRuns {
  readonly root: RunView | null;
  readonly parent: RunView | null;
  readonly children: readonly RunView[];
}

export interface RetrieveOptions {
  readonly names: StatusNames;
  readonly related: RelatedRuns;
  /** Address of a value that is stored apart. */
  readonly storedUrl: (key: string) => string;
}

export function retrievedRun(run: RunView, options: RetrieveOptions): RetrievedRun {
  const { names, related } = options;
  return {
    ...relatedRun(run, names),
    ...value("payload", run.payload, run.payloadType, options.storedUrl),
    ...value("output", run.output, run.outputType, options.storedUrl),
    ...(run.error === null ? {} : { error: errorView(run.error) }),
    relatedRuns: {
      ...(related.root === null ? {} : { root: relatedRun(related.root, names) }),
      ...(related.parent === null ? {} : { parent: relatedRun(related.parent, names) }),
      children: related.children.map((child) => relatedRun(child, names)),
    },
    attemptCount: run.attemptNumber,
  };
}

export function listedRun(run: RunView, env: EnvironmentRef, names: StatusNames): ListedRun {
  return { ...commonRun(run, names), env: { id: env.id, name: env.slug } };
}

function relatedRun(run: RunView, names: StatusNames): RelatedRun {
  return { ...commonRun(run, names), depth: run.depth, triggerFunction: run.triggerFunction, ...given({ batchId: run.batchId }) };
}

function commonRun(run: RunView, names: StatusNames): Omit<ListedRun, "env"> {
  const metadata = decodeMetadata(run.metadata, run.metadataType);
  const ttl = run.ttlSeconds === null ? undefined : durationText(run.ttlSeconds);
  return {
    id: run.id,
    status: statusName(run.status, names),
    taskIdentifier: run.taskIdentifier,
    ...given({ idempotencyKey: run.idempotencyKey, version: run.version }),
    ...statusFlags(run.status),
    isTest: run.isTest,
    createdAt: run.createdAt,
    updatedAt: run.updatedAt,
    ...given({ startedAt: run.startedAt, finishedAt: run.completedAt, delayedUntil: run.delayUntil, ttl, expiredAt: run.expiredAt }),
    tags: [...run.tags],
    costInCents: 0,
    baseCostInCents: 0,
    durationMs: run.durationMs,
    ...given({ metadata }),
  };
}

function value(
  name: "payload" | "output",
  data: string | null,
  dataType: string | null,
  storedUrl: (key: string) => string,
): Record<string, unknown> {
  if (data === null) return {};
  if (dataType === STORED_TYPE) return { [`${name}PresignedUrl`]: storedUrl(data) };
  return { [name]: decodeValue(data, dataType) };
}

const OUT_OF_MEMORY_HINT =
  "The run used more memory than its machine has: choose a larger one with `machine`, or for the next attempt with `retry.outOfMemory`";

/** An error of a task in the one shape that the SDK shows. What only looks like a killed process is named, with what to do. */
export function errorView(error: TaskRunError): { name?: string; message: string; stackTrace?: string } {
  const shown = plainView(error);
  return isOutOfMemory(error) ? { ...shown, message: `${shown.message} ${OUT_OF_MEMORY_HINT}` } : shown;
}

function plainView(error: TaskRunError): { name?: string; message: string; stackTrace?: string } {
  switch (error.type) {
    case "BUILT_IN_ERROR":
      return { name: error.name, message: error.message, stackTrace: error.stackTrace };
    case "STRING_ERROR":
    case "CUSTOM_ERROR":
      return { message: error.raw };
    case "INTERNAL_ERROR":
      return { name: error.code, message: error.message ?? `Internal error (${error.code})`, ...given({ stackTrace: error.stackTrace }) };
  }
}

/** The result of a run that is over; undefined before. */
export function executionResult(run: RunView): TaskRunExecutionResult | undefined {
  const flags = statusFlags(run.status);
  if (!flags.isCompleted) return undefined;
  const usage = { usage: { durationMs: run.durationMs }, taskIdentifier: run.taskIdentifier };
  if (flags.isSuccess) {
    return { ok: true, id: run.id, ...given({ output: run.output }), outputType: run.outputType ?? "application/json", ...usage };
  }
  return { ok: false, id: run.id, error: run.error ?? { type: "STRING_ERROR", raw: `Run ended as ${run.status}` }, ...usage };
}
