import { TorporError } from "@torpor/contracts";
import type { SdkCaller } from "./callers.ts";

/** What a public token may do to what: `read:runs:run_1`, `trigger:tasks:nap`, `write:waitpoints:waitpoint_1`. */
export interface Target {
  readonly type: "runs" | "tags" | "batch" | "tasks" | "waitpoints";
  readonly id: string;
}

/**
 * A scope is `action[:type[:id]]`, and what is left out means all: `read` reads everything, `read:runs` every run. It is
 * enough that one scope fits one of the targets. Ids may hold colons.
 */
export function scopesAllow(scopes: readonly string[], action: string, targets: readonly Target[]): boolean {
  return scopes.some((scope) => {
    const [granted, type, ...rest] = scope.split(":");
    if (granted === "admin") return true;
    if (granted !== action) return false;
    if (type === undefined) return true;
    const id = rest.join(":");
    return targets.some((target) => target.type === type && (rest.length === 0 || (id !== "" && target.id === id)));
  });
}

/** Lets secret keys pass, and public tokens whose scopes fit. */
export function requireScope(
  caller: SdkCaller,
  action: "read" | "write" | "trigger" | "batchTrigger",
  ...targets: readonly Target[]
): void {
  if (caller.token === null || scopesAllow(caller.token.scopes, action, targets)) return;
  const wanted = targets.map((target) => `${action}:${target.type}:${target.id}`).join(" or ");
  throw new TorporError("forbidden", `Cannot do this with the public token: it needs the scope ${wanted === "" ? action : wanted}`);
}
