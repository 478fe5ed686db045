import type { MachineName } from "@torpor/contracts";
import { RetryConfig } from "./completion.ts";
import { chooseMachine } from "./machine.ts";

/** What is known of a queued run when its turn has come. */
export interface HandOutFacts {
  readonly deployment: { readonly id: string; readonly version: string } | null;
  readonly hasTask: boolean;
  readonly hasQueue: boolean;
  readonly runMachine: string | null;
  readonly taskMachine: string | null;
  readonly runMaxAttempts: number | null;
  readonly runMaxDurationSeconds: number | null;
  readonly taskMaxDurationSeconds: number | null;
  readonly taskRetry: unknown;
}

export type HandOutDecision =
  | { readonly kind: "park"; readonly reason: string }
  | {
      readonly kind: "handOut";
      readonly deployment: { readonly id: string; readonly version: string };
      readonly machine: MachineName;
      readonly maxAttempts: number | null;
      readonly maxDurationSeconds: number | null;
    };

/** Shorter limits end a task before it has begun. */
const MIN_MAX_DURATION_SECONDS = 5;

/** Hands the run out on the version that knows it, or parks it until one is deployed. */
export function decideHandOut(facts: HandOutFacts): HandOutDecision {
  if (facts.deployment === null) return { kind: "park", reason: "No version is deployed" };
  if (!facts.hasTask) return { kind: "park", reason: `Version ${facts.deployment.version} does not know the task` };
  if (!facts.hasQueue) return { kind: "park", reason: `Version ${facts.deployment.version} does not know the queue` };
  const retry = RetryConfig.safeParse(facts.taskRetry);
  const seconds = facts.runMaxDurationSeconds ?? facts.taskMaxDurationSeconds;
  return {
    kind: "handOut",
    deployment: facts.deployment,
    machine: chooseMachine(facts.runMachine, facts.taskMachine),
    maxAttempts: facts.runMaxAttempts ?? (retry.success ? (retry.data.maxAttempts ?? null) : null),
    maxDurationSeconds: seconds === null ? null : Math.max(seconds, MIN_MAX_DURATION_SECONDS),
  };
}
