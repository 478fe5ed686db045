// Who comes to the warm door, and what it may be told there.
import { WARM_START_HEADERS, type DequeuedMessage } from "@torpor/contracts";
import { deploymentIdOf } from "../launch/environment.ts";
import { isLoopback, type Runners } from "../runners/runners.ts";
import type { Runner } from "../runners/runner.ts";
import type { WaitingAs } from "./warmRelay.ts";

export interface WarmCaller extends WaitingAs {
  /** Null where sandboxes have no addresses. */
  readonly runner: Runner | null;
  /** Undefined where only the deployment is known, which is one environment's. */
  readonly environmentId: string | undefined;
}

export interface WarmCall {
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly remoteAddress: string;
  /** Fires when the connection has ended without an answer. */
  readonly signal: AbortSignal;
}

/**
 * What a poll is answered with. `leave`: there is nothing for this runner, it exits. `again`: it is not known yet, it asks
 * again after a moment.
 */
export type WarmAnswer =
  | { readonly kind: "run"; readonly message: DequeuedMessage }
  | { readonly kind: "leave" }
  | { readonly kind: "again" };

/**
 * The caller, by its address (L14). `unknown`: nobody known lives there, yet. `unfit`: it is known, and nobody said whose runs it may
 * execute; or it does not say what it must.
 */
export function whoCalls({ headers, remoteAddress }: Omit<WarmCall, "signal">, runners: Runners): WarmCaller | "unknown" | "unfit" {
  const runner = runners.at(remoteAddress);
  if (runner === undefined) return isLoopback(remoteAddress) ? claimed(headers) : "unknown";
  if (runner.serves === undefined) return "unfit";
  const { cpu, memoryGib } = runner.room;
  return { runner, ...runner.serves, controllerId: runner.name, cpu, memoryGib };
}

const MAX_CLAIM_LENGTH = 4096;

function claimed(headers: WarmCall["headers"]): WarmCaller | "unfit" {
  const text = (name: string): string => {
    const value = headers[name];
    return typeof value === "string" && value.length <= MAX_CLAIM_LENGTH ? value : "";
  };
  const controllerId = text(WARM_START_HEADERS.controllerId).slice(0, 200);
  const deploymentId = text(WARM_START_HEADERS.deploymentId); // or its token, which the broker reads
  const version = text(WARM_START_HEADERS.deploymentVersion);
  const cpu = Number(text(WARM_START_HEADERS.machineCpu));
  const memoryGib = Number(text(WARM_START_HEADERS.machineMemory));
  const isWhole = controllerId !== "" && deploymentId !== "" && version !== "" && cpu > 0 && memoryGib > 0;
  return isWhole ? { runner: null, environmentId: undefined, controllerId, deploymentId, version, cpu, memoryGib } : "unfit";
}

/** Whether a runner was made for the very version and environment of a run. */
export function isServedBy({ serves }: Pick<Runner, "serves">, message: DequeuedMessage): boolean {
  return (
    serves !== undefined &&
    deploymentIdOf(message) === serves.deploymentId &&
    message.backgroundWorker.version === serves.version &&
    message.environment.id === serves.environmentId
  );
}

/** Whether `a` is an older version than `b`, as versions count up: `20260101.9` before `20260101.10`. Of others nothing is said. */
export function isOlder(a: string, b: string): boolean {
  const left = a.split(".").map(Number);
  const right = b.split(".").map(Number);
  if (left.length !== right.length || [...left, ...right].some(Number.isNaN)) return false;
  const index = left.findIndex((part, at) => part !== right[at]);
  return index !== -1 && (left[index] ?? 0) < (right[index] ?? 0);
}
