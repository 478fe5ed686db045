import { z } from "zod";
import { DequeuedMessage } from "./workerActions.ts";
import { route } from "./route.ts";

// The seam between idle runners, supervisors and the warm-start broker.

export const WARM_START_HEADERS = {
  controllerId: "x-trigger-workload-controller-id",
  deploymentId: "x-trigger-deployment-id",
  deploymentVersion: "x-trigger-deployment-version",
  machineCpu: "x-trigger-machine-cpu",
  machineMemory: "x-trigger-machine-memory",
  instanceName: "x-trigger-worker-instance-name",
} as const;

export const warmStart = {
  /** How long one poll may last, and how long an idle runner is kept; 0 tells the runner to exit. */
  connect: route("GET", "/connect", { auth: "none", reply: z.object({ connectionTimeoutMs: z.number(), keepaliveMs: z.number() }) }),
  /** Long poll of an idle runner: 200 with a run to take. */
  poll: route("GET", "/warm-start", { auth: "none", reply: DequeuedMessage }),
  /** Offers a run to the idle runners. `true` only after it was written to a live poll. */
  dispatch: route("POST", "/warm-start", {
    auth: "none",
    body: z.object({ dequeuedMessage: DequeuedMessage }),
    reply: z.object({ didWarmStart: z.boolean(), controllerId: z.string().optional() }),
    bodyLimitBytes: 1024 * 1024,
  }),
} as const;
