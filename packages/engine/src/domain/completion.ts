import { MACHINES, MachineName, type TaskRunError, type TaskRunExecutionResult } from "@torpor/contracts";
import { z } from "zod";
import { internalError, isOutOfMemory, isRetryable, usesStoredRetry } from "./runErrors.ts";

// What becomes of a run when an attempt ends.

/** The SDK's retry options as a task's manifest holds them. Anything else in them is the SDK's own business. */
export const RetryConfig = z.object({
  maxAttempts: z.number().int().optional().catch(undefined),
  minTimeoutInMs: z.number().optional().catch(undefined),
  maxTimeoutInMs: z.number().optional().catch(undefined),
  factor: z.number().optional().catch(undefined),
  randomize: z.boolean().optional().catch(undefined),
  outOfMemory: z
    .object({ machine: MachineName.optional().catch(undefined) })
    .optional()
    .catch(undefined),
});
export type RetryConfig = z.infer<typeof RetryConfig>;

export interface AttemptFacts {
  readonly attemptNumber: number;
  /** null: none was ever set, so there is one attempt. */
  readonly maxAttempts: number | null;
  readonly machine: MachineName;
  readonly retryConfig: RetryConfig;
  /** The run was cancelled and its runner confirms. */
  readonly isCanceling: boolean;
  readonly forceRequeue: boolean;
}

export interface CompletionSettings {
  /** Below this a retry stays on its runner, warm; from it on the runner is given up (ms). */
  readonly retryImmediatelyBelowMs: number;
  /** No run has more attempts than this, whatever it asks for. */
  readonly maxAttempts: number;
}

export type CompletionDecision =
  | { readonly kind: "succeed" }
  | { readonly kind: "cancel" }
  | { readonly kind: "fail"; readonly error: TaskRunError }
  | { readonly kind: "retryNow"; readonly error: TaskRunError }
  | { readonly kind: "retryLater"; readonly error: TaskRunError; readonly delayMs: number; readonly machine?: MachineName };

type FailedResult = Extract<TaskRunExecutionResult, { ok: false }>;

/** The order of the checks is the contract: cancelled, out of memory, hopeless, too often, not asked for, retry. */
export function decideCompletion(
  result: TaskRunExecutionResult,
  facts: AttemptFacts,
  settings: CompletionSettings,
  random: () => number,
): CompletionDecision {
  if (facts.isCanceling) return { kind: "cancel" };
  if (result.ok) return { kind: "succeed" };
  const { error } = result;
  if (error.type === "INTERNAL_ERROR" && error.code === "TASK_RUN_CANCELLED") return { kind: "cancel" };
  if (isOutOfMemory(error)) return retryOnLargerMachine(error, result, facts, random);
  if (!isRetryable(error)) return { kind: "fail", error };
  if (facts.attemptNumber >= settings.maxAttempts) return { kind: "fail", error };
  if (facts.maxAttempts === null || facts.attemptNumber >= facts.maxAttempts) return { kind: "fail", error };
  if (result.retry === undefined) {
    if (result.skippedRetrying === true || !usesStoredRetry(error)) return { kind: "fail", error };
    return { kind: "retryLater", error, delayMs: storedRetryDelayMs(facts.attemptNumber, facts.retryConfig, random) };
  }
  const delayMs = Math.max(0, result.retry.delay);
  if (facts.forceRequeue || delayMs >= settings.retryImmediatelyBelowMs) return { kind: "retryLater", error, delayMs };
  return { kind: "retryNow", error };
}

/** A run that died of hunger gets one more table: the machine that its task names for this, if that is larger. */
function retryOnLargerMachine(error: TaskRunError, result: FailedResult, facts: AttemptFacts, random: () => number): CompletionDecision {
  const machine = facts.retryConfig.outOfMemory?.machine;
  if (machine === undefined || MACHINES[machine].memory <= MACHINES[facts.machine].memory) return { kind: "fail", error };
  const delayMs = result.retry?.delay ?? storedRetryDelayMs(facts.attemptNumber, facts.retryConfig, random);
  return { kind: "retryLater", error, delayMs: Math.max(0, delayMs), machine };
}

/** The SDK's own back-off, for attempts whose child could not compute it. Defaults are the SDK's. */
export function storedRetryDelayMs(attemptNumber: number, config: RetryConfig, random: () => number): number {
  const minMs = config.minTimeoutInMs ?? 1000;
  const spread = config.randomize === true ? 1 + random() : 1;
  return Math.min(spread * minMs * (config.factor ?? 2) ** Math.max(0, attemptNumber - 1), config.maxTimeoutInMs ?? 60_000);
}

/** What an attempt that fell silent, or could not be restored, counts as: a failure that is retried through the queue. */
export function systemFailure(runId: string, code: string, message: string, delayMs: number, nowMs: number): TaskRunExecutionResult {
  return { ok: false, id: runId, error: internalError(code, message), retry: { timestamp: nowMs + delayMs, delay: delayMs } };
}
