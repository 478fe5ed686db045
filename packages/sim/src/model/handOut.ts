import { machinePreset, type DequeuedMessage } from "@torpor/contracts";
import type { ModelRun } from "./modelRun.ts";

/** What a node is given with a run. */
export function handOut(run: ModelRun, nowMs: number): DequeuedMessage {
  const { checkpoint } = run;
  return {
    version: "1",
    snapshot: run.latest.snapshot,
    dequeuedAt: new Date(nowMs),
    image: `torpor/project@sha256:${"1".repeat(64)}`,
    ...(checkpoint === null ? {} : { checkpoint: { id: checkpoint.id, location: checkpoint.location, type: "COMPUTE" } }),
    completedWaitpoints: run.brought,
    backgroundWorker: { id: "w", friendlyId: "worker_w", version: "1" },
    deployment: { id: "d", friendlyId: "deployment_d" },
    run: {
      id: run.id.slice(4),
      friendlyId: run.id,
      isTest: false,
      isReplay: false,
      machine: machinePreset("small-1x"),
      attemptNumber: checkpoint === null ? run.attempt + 1 : run.attempt,
      masterQueue: "main",
      traceContext: {},
    },
    environment: { id: "env", type: "PRODUCTION" },
    organization: { id: "org" },
    project: { id: "proj" },
  };
}
