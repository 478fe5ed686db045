import {
  workerActions,
  WORKER_HEADERS,
  type BodyOf,
  type DequeuedMessage,
  type RestoreOutcomeBody,
  type RunExecutionData,
  type SuspendBody,
  type TimelineEvent,
} from "@torpor/contracts";
import { RouteClient, type CallOutcome } from "@torpor/http";
import { z } from "zod";
import type { RouteCaller } from "../callers.ts";
import type { SupervisorConfig } from "../config.ts";

/** Whose call is passed on. */
export interface OnBehalf {
  readonly runnerId: string | undefined;
  readonly environmentId?: string | undefined;
}

interface At {
  readonly runId: string;
  readonly snapshotId: string;
}

// Answers that go on to a runner are not read with our schemas: a newer platform may say more than we know, and
// the runner checks them itself. Bodies likewise.
const RELAYED = {
  start: { ...workerActions.startAttempt, body: z.unknown(), reply: z.unknown() },
  complete: { ...workerActions.completeAttempt, body: z.unknown(), reply: z.unknown() },
  heartbeat: { ...workerActions.runHeartbeat, body: z.unknown(), reply: z.unknown() },
  since: { ...workerActions.snapshotsSince, reply: z.unknown() },
  continue: { ...workerActions.continueRun, reply: z.unknown() },
};

/** Calls that wait for an answer that a user's task waits for in turn. */
const RUN_CALL_TIMEOUT_MS = 30_000;
/** The runner gives up on these after 10 s, retries included. */
const QUICK_CALL_TIMEOUT_MS = 9_000;

/** The platform, as this node calls it. Nothing here retries: whoever calls knows how long it may wait. */
export class Platform {
  readonly #caller: RouteCaller;

  constructor(caller: RouteCaller) {
    this.#caller = caller;
  }

  connect(metadata: Readonly<Record<string, unknown>>, signal: AbortSignal) {
    return this.#caller.call(workerActions.connect, { body: { metadata }, signal });
  }

  heartbeat(body: BodyOf<typeof workerActions.heartbeat>, signal: AbortSignal) {
    return this.#caller.call(workerActions.heartbeat, { body, signal });
  }

  dequeue(
    body: BodyOf<typeof workerActions.dequeue>,
    options: { readonly timeoutMs: number; readonly signal: AbortSignal },
  ): Promise<CallOutcome<DequeuedMessage[]>> {
    return this.#caller.call(workerActions.dequeue, { body, ...options });
  }

  async latest(runId: string): Promise<CallOutcome<RunExecutionData>> {
    const outcome = await this.#caller.call(workerActions.latestSnapshot, { params: { runId }, timeoutMs: QUICK_CALL_TIMEOUT_MS });
    return outcome.kind === "ok" ? { ...outcome, body: outcome.body.execution } : outcome;
  }

  since(at: At, by: OnBehalf): Promise<CallOutcome<unknown>> {
    return this.#caller.call(RELAYED.since, { params: at, headers: onBehalf(by), timeoutMs: QUICK_CALL_TIMEOUT_MS });
  }

  start(at: At, body: unknown, by: OnBehalf): Promise<CallOutcome<unknown>> {
    return this.#caller.call(RELAYED.start, { params: at, body, headers: onBehalf(by), timeoutMs: RUN_CALL_TIMEOUT_MS });
  }

  complete(at: At, body: unknown, by: OnBehalf): Promise<CallOutcome<unknown>> {
    return this.#caller.call(RELAYED.complete, { params: at, body, headers: onBehalf(by), timeoutMs: RUN_CALL_TIMEOUT_MS });
  }

  runHeartbeat(at: At, body: unknown, by: OnBehalf): Promise<CallOutcome<unknown>> {
    return this.#caller.call(RELAYED.heartbeat, { params: at, body, headers: onBehalf(by), timeoutMs: QUICK_CALL_TIMEOUT_MS });
  }

  continueRun(at: At, by: OnBehalf): Promise<CallOutcome<unknown>> {
    return this.#caller.call(RELAYED.continue, { params: at, headers: onBehalf(by), timeoutMs: QUICK_CALL_TIMEOUT_MS });
  }

  completeSuspension(at: At, body: SuspendBody, by: OnBehalf) {
    return this.#caller.call(workerActions.completeSuspension, {
      params: at,
      body,
      headers: onBehalf(by),
      timeoutMs: QUICK_CALL_TIMEOUT_MS,
    });
  }

  restoreOutcome(at: At, body: RestoreOutcomeBody) {
    return this.#caller.call(workerActions.restoreOutcome, { params: at, body, timeoutMs: QUICK_CALL_TIMEOUT_MS });
  }

  release(at: At, reason: string) {
    return this.#caller.call(workerActions.release, { params: at, body: { reason }, timeoutMs: QUICK_CALL_TIMEOUT_MS });
  }

  debugLog(runId: string, body: BodyOf<typeof workerActions.debugLog>) {
    return this.#caller.call(workerActions.debugLog, { params: { runId }, body, timeoutMs: QUICK_CALL_TIMEOUT_MS });
  }

  timeline(runId: string, events: readonly TimelineEvent[]) {
    return this.#caller.call(workerActions.timeline, {
      params: { runId },
      body: { events: [...events] },
      timeoutMs: QUICK_CALL_TIMEOUT_MS,
    });
  }

  liveCheckpoints(locations: readonly string[]) {
    return this.#caller.call(workerActions.liveCheckpoints, { body: { locations: [...locations] } });
  }
}

/** The headers that every call and the socket carry. */
export function workerHeaders(config: SupervisorConfig): Record<string, string> {
  return {
    authorization: `Bearer ${config.platform.token.reveal()}`,
    [WORKER_HEADERS.instanceName]: config.instanceName,
    [WORKER_HEADERS.managedSecret]: config.platform.managedSecret.reveal(),
  };
}

/** An HTTP client for the platform; the caller closes it. */
export function platformClient(config: SupervisorConfig): RouteClient {
  return new RouteClient({ baseUrl: config.platform.url, timeoutMs: RUN_CALL_TIMEOUT_MS, headers: () => workerHeaders(config) });
}

function onBehalf(by: OnBehalf): Record<string, string> {
  return {
    ...(by.runnerId === undefined ? {} : { [WORKER_HEADERS.runnerId]: by.runnerId }),
    ...(by.environmentId === undefined ? {} : { [WORKER_HEADERS.environmentId]: by.environmentId }),
  };
}

/** True when the answer cannot be the word of an engine about this call: it may help to ask again. */
export function isPassing(outcome: CallOutcome<unknown>): boolean {
  return outcome.kind === "unreachable" || (outcome.kind === "refused" && outcome.mayRetry);
}

/** An old or foreign platform, that does not have this route. Ours names a code in every refusal. */
export function isMissingRoute(outcome: CallOutcome<unknown>): boolean {
  return outcome.kind === "refused" && outcome.status === 404 && outcome.code === undefined;
}
