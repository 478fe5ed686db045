import { CALLBACK_SIGNATURE_HEADER, TorporError, WORKLOAD_HEADERS, warmStart, workload, route, type Auth } from "@torpor/contracts";
import { Answer, mounter, type Mounted } from "@torpor/http";
import { z } from "zod";
import type { Platform } from "../platform/platform.ts";
import type { Runners } from "../runners/runners.ts";
import type { CallbackVerdict } from "../snapshot/callbacks.ts";
import type { Intents } from "../snapshot/intents.ts";
import type { Rearm } from "../snapshot/rearm.ts";
import type { WorkloadCaller } from "./identity.ts";
import { verbatim } from "./relay.ts";
import type { RunActions } from "./runActions.ts";
import type { WarmDoor } from "./warmDoor.ts";

/** Callers of the workload server, by kind of authentication. */
export interface WorkloadCallers extends Partial<Record<Auth, unknown>> {
  readonly sandbox: WorkloadCaller;
  readonly callback: null;
}

/** Where the gateway tells that a snapshot is over. Served beside the workload API; a sandbox that calls it is refused. */
export const snapshotComplete = route("POST", "/api/v1/compute/snapshot-complete", {
  auth: "callback",
  body: z.instanceof(Buffer),
  bodyKind: "raw",
  reply: z.object({ ok: z.literal(true) }),
});
export const CALLBACK_PATH = snapshotComplete.path;

export interface WorkloadDeps {
  readonly actions: RunActions;
  readonly intents: Intents;
  readonly rearm: Rearm;
  readonly runners: Runners;
  readonly platform: Platform;
  readonly forwardDebugLogs: boolean;
  /** Why runners cannot sleep on this node; null when they can. */
  readonly noSleepReason: () => string | null;
  /** Null where runners are told to ask a broker themselves, or are not kept. */
  readonly warmDoor: WarmDoor | null;
  readonly receiveCallback: (body: Buffer, signature: string | undefined) => CallbackVerdict;
}

const mount = mounter<WorkloadCallers>();

/** The workload API: what an unmodified runner calls. */
export function workloadRoutes(deps: WorkloadDeps): Mounted[] {
  const { actions } = deps;
  const start = { ...workload.startAttempt, body: verbatim(workload.startAttempt.body) };
  const complete = { ...workload.completeAttempt, body: verbatim(workload.completeAttempt.body) };
  return [
    mount(start, async ({ params, body, caller }) => actions.start(params, body ?? {}, caller)),
    mount(complete, async ({ params, body, caller }) => actions.complete(params, body, caller)),
    mount(workload.heartbeat, async ({ params, body, caller }) => actions.heartbeat(params, body, caller)),
    mount(workload.continueRun, async ({ params, caller }) => actions.continueRun(params, caller)),
    mount(workload.snapshotsSince, async ({ params, caller }) => actions.since(params, caller)),
    mount(workload.suspend, async ({ params, caller, headers }) => suspend(deps, params, caller, headers)),
    mount(workload.debugLog, async ({ params, body }) => {
      if (deps.forwardDebugLogs)
        void deps.platform.debugLog(params.runId, { ...body, time: z.coerce.date().catch(new Date(0)).parse(body.time) });
      return undefined;
    }),
    ...(deps.warmDoor === null ? [] : warmRoutes(deps.warmDoor)),
    mount(workload.dequeueDeployment, async () => []),
    mount(snapshotComplete, async ({ body, headers }) => {
      const signature = headers[CALLBACK_SIGNATURE_HEADER];
      const verdict = deps.receiveCallback(body, typeof signature === "string" ? signature : undefined);
      if (verdict === "forged")
        throw new TorporError(
          "unauthenticated",
          "Cannot take the callback: it is not signed by this node's gateway for a snapshot that was asked for",
        );
      return { ok: true as const };
    }),
  ];
}

/** Where runners of this node wait for another run. Who they are follows from where they connect from (L14). */
function warmRoutes(door: WarmDoor): Mounted[] {
  return [
    mount(warmStart.connect, async () => door.connect()),
    mount(warmStart.poll, async ({ headers, remoteAddress, signal }) => {
      const answer = await door.poll({ headers, remoteAddress, signal });
      if (answer.kind === "run") return answer.message;
      // An answer without content makes a runner ask again after a moment; a refusal makes it exit.
      if (answer.kind === "again") return new Answer(undefined as never, { status: 204 });
      throw new TorporError("no_capacity", "Cannot wait here for a run any longer");
    }),
  ];
}

/** Only notes the wish, and answers at once: the runner handles nothing else until it is answered. */
function suspend(
  deps: WorkloadDeps,
  at: { readonly runId: string; readonly snapshotId: string },
  caller: WorkloadCaller,
  headers: Readonly<Record<string, string | string[] | undefined>>,
): { ok: true } | Answer<{ ok: false; error: string }> {
  const { runner } = caller;
  if (runner === null) return refuse(`Cannot suspend ${at.runId}: ${WORKLOAD_HEADERS.runnerId} is missing`);
  for (const name of [WORKLOAD_HEADERS.deploymentVersion, WORKLOAD_HEADERS.projectRef]) {
    if (headers[name] === undefined) return refuse(`Cannot suspend ${at.runId}: ${name} is missing`);
  }
  const reason = deps.noSleepReason();
  if (reason !== null) return refuse(`Cannot suspend ${at.runId}: ${reason}; it waits in memory`);
  if (deps.runners.bind(runner, at.runId) === "held_by_other") return refuse(`Cannot suspend ${at.runId}: another runner has it`);
  if (runner.ahead !== null) return { ok: true }; // repeated from before it slept
  deps.rearm.asked(runner, at.snapshotId);
  deps.intents.schedule({ runId: at.runId, runnerId: runner.name, snapshotId: at.snapshotId }, { why: "asked" });
  return { ok: true };
}

/** The runner stays up and waits in memory. */
function refuse(error: string): Answer<{ ok: false; error: string }> {
  return new Answer({ ok: false, error }, { status: 400 });
}
