// The calls of a runner: where each goes, how often and how patiently it is tried, and what it says of itself.
import { warmStart, WARM_START_HEADERS, workload, WORKLOAD_HEADERS, type Route } from "@torpor/contracts";
import { beginWait } from "./platformRoutes.ts";
import type { CallKind, RunnerMemory } from "./runnerMemory.ts";

type CallRules = { readonly tries: number; readonly baseMs: number; readonly timeoutMs: number };
export const CALL_RULES: Readonly<Record<CallKind, CallRules>> = {
  start: { tries: 6, baseMs: 1_000, timeoutMs: 300_000 },
  complete: { tries: 5, baseMs: 500, timeoutMs: 300_000 },
  heartbeat: { tries: 3, baseMs: 500, timeoutMs: 10_000 },
  since: { tries: 3, baseMs: 500, timeoutMs: 10_000 },
  suspend: { tries: 5, baseMs: 500, timeoutMs: 300_000 },
  continue: { tries: 8, baseMs: 500, timeoutMs: 300_000 },
  env: { tries: 1, baseMs: 0, timeoutMs: 5_000 },
  wait: { tries: 12, baseMs: 500, timeoutMs: 30_000 },
  connect: { tries: 2, baseMs: 500, timeoutMs: 5_000 },
  poll: { tries: 1, baseMs: 0, timeoutMs: 240_000 },
};

export const CALL_ROUTES: Readonly<Record<CallKind, { readonly route: Route; readonly link: "runner>supervisor" | "runner>platform" }>> = {
  start: { route: workload.startAttempt as unknown as Route, link: "runner>supervisor" },
  complete: { route: workload.completeAttempt as unknown as Route, link: "runner>supervisor" },
  heartbeat: { route: workload.heartbeat as unknown as Route, link: "runner>supervisor" },
  since: { route: workload.snapshotsSince as unknown as Route, link: "runner>supervisor" },
  suspend: { route: workload.suspend as unknown as Route, link: "runner>supervisor" },
  continue: { route: workload.continueRun as unknown as Route, link: "runner>supervisor" },
  env: { route: workload.continueRun as unknown as Route, link: "runner>supervisor" },
  wait: { route: beginWait as unknown as Route, link: "runner>platform" },
  connect: { route: warmStart.connect as unknown as Route, link: "runner>supervisor" },
  poll: { route: warmStart.poll as unknown as Route, link: "runner>supervisor" },
};

export function headersOf(kind: CallKind, { runnerId, controllerId }: RunnerMemory): Record<string, string> {
  if (kind !== "poll")
    return {
      [WORKLOAD_HEADERS.deploymentId]: "deployment_d",
      [WORKLOAD_HEADERS.runnerId]: runnerId,
      [WORKLOAD_HEADERS.deploymentVersion]: "1",
      [WORKLOAD_HEADERS.projectRef]: "proj",
    };
  return {
    [WARM_START_HEADERS.controllerId]: controllerId,
    [WARM_START_HEADERS.deploymentId]: "deployment_d",
    [WARM_START_HEADERS.deploymentVersion]: "1",
    [WARM_START_HEADERS.machineCpu]: "0.5",
    [WARM_START_HEADERS.machineMemory]: "0.5",
  };
}
