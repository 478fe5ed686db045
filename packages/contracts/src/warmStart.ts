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
  /** Beyond the shared protocol. `true`: whoever polls tells by `settle` what became of a run that he was given (L12). */
  settles: "x-torpor-warm-start-settles",
} as const;

/** What became of a run that was given to an idle runner. `refused`: it certainly never reached it. `silent`: no sign of it in time. */
export const HandOverOutcome = z.enum(["started", "refused", "silent"]);
export type HandOverOutcome = z.infer<typeof HandOverOutcome>;

const Id = z.string().min(1).max(200);

export const warmStart = {
  /** How long one poll may last, and how long an idle runner is kept, in milliseconds; 0 tells the runner to exit. */
  connect: route("GET", "/connect", { auth: "none", reply: z.object({ connectionTimeoutMs: z.number(), keepaliveMs: z.number() }) }),
  /** Long poll of an idle runner: 200 with a run to take. */
  poll: route("GET", "/warm-start", { auth: "none", reply: DequeuedMessage }),
  /**
   * Offers a run to the idle runners. `didWarmStart` is true only after the run was written to a live poll. Who asks for `acknowledge`
   * is answered when the runner has shown that it took the run, if its poll can tell that: then `acknowledged` is true, too.
   */
  dispatch: route("POST", "/warm-start", {
    auth: "none",
    body: z.object({ dequeuedMessage: DequeuedMessage, acknowledge: z.boolean().optional() }),
    reply: z.object({ didWarmStart: z.boolean(), controllerId: z.string().optional(), acknowledged: z.boolean().optional() }),
    bodyLimitBytes: 1024 * 1024,
  }),
  /** Tells what became of a run that a poll with `settles` was given. Said for a run that nobody waits for any more, it changes nothing. */
  settle: route("POST", "/warm-start/settle", {
    auth: "none",
    body: z.object({ controllerId: Id, runId: Id, outcome: HandOverOutcome }),
    reply: z.object({ ok: z.literal(true) }),
  }),
} as const;
