import type { IncomingHttpHeaders } from "node:http";
import { TorporError, sdkRuns, type ListRunsQuery, type ReplayBody } from "@torpor/contracts";
import type { EngineForEnvironment, EnvironmentRef, RunFilter, RunView, TriggerOptions } from "@torpor/engine";
import type { Mounted } from "@torpor/http";
import type { Clock, Random } from "@torpor/kernel";
import { mount } from "../auth/callers.ts";
import { requireScope, type Target } from "../auth/scopes.ts";
import type { Packets } from "../packets/packets.ts";
import { given } from "../given.ts";
import { accepted, found, notFoundYet } from "../refusal.ts";
import { runFilter } from "../runs/filter.ts";
import { API_VERSION_HEADER, type StatusNames } from "../runs/status.ts";
import { delayOf } from "../runs/times.ts";
import { checkedTags, triggerOptions, type TriggerLimits } from "../runs/triggerOptions.ts";
import { decodeMetadata } from "../runs/values.ts";
import { executionResult, listedRun, retrievedRun } from "../runs/view.ts";
import { origin } from "./trigger.ts";

type Engine = Pick<
  EngineForEnvironment,
  | "getRun"
  | "childrenOf"
  | "listRuns"
  | "cancelRun"
  | "rescheduleRun"
  | "addTags"
  | "updateMetadata"
  | "resetIdempotencyKey"
  | "timeline"
  | "trigger"
>;

export interface RunDeps {
  readonly engine: Engine;
  readonly clock: Clock;
  readonly random: Random;
  readonly limits: TriggerLimits;
  readonly packets: Pick<Packets, "downloadUrl">;
}

export function runRoutes(deps: RunDeps): Mounted[] {
  return [...readRoutes(deps), ...changeRoutes(deps), ...metadataRoutes(deps)];
}

function readRoutes(deps: RunDeps): Mounted[] {
  const { engine } = deps;
  return [
    mount(sdkRuns.retrieve, async ({ params, caller, headers }) => {
      const run = await engine.getRun(caller.env, params.runId);
      if (run === null) return notFoundYet("run", params.runId);
      requireScope(caller, "read", ...targetsOf(run));
      return retrieved(deps, caller.env, run, headers);
    }),
    mount(sdkRuns.list, async ({ query, caller, headers }) => {
      const filter = runFilter(query, deps.clock.nowMs());
      requireScope(caller, "read", ...targetsOfFilter(filter));
      return listRuns(deps, caller.env, { query, filter, names: namesFor(headers) });
    }),
    mount(sdkRuns.listOfProject, async ({ params, query, caller, headers }) => {
      if (params.projectRef !== caller.env.project.ref)
        throw new TorporError("not_found", `Cannot find project ${JSON.stringify(params.projectRef)} with this key`);
      return listRuns(deps, caller.env, { query, filter: runFilter(query, deps.clock.nowMs()), names: namesFor(headers) });
    }),
    mount(sdkRuns.result, async ({ params, caller }) => {
      const run = found(await engine.getRun(caller.env, params.runId), "run", params.runId);
      return found(executionResult(run), "a result: not over yet is run", run.id);
    }),
    mount(sdkRuns.timeline, async ({ params, caller }) => {
      requireScope(caller, "read", { type: "runs", id: params.runId });
      return { events: [...found(await engine.timeline(caller.env, params.runId), "run", params.runId)] };
    }),
  ];
}

function changeRoutes(deps: RunDeps): Mounted[] {
  const { engine, clock } = deps;
  return [
    mount(sdkRuns.cancel, async ({ params, caller }) => {
      requireScope(caller, "write", { type: "runs", id: params.runId });
      accepted(await engine.cancelRun(caller.env, params.runId, "Canceled by user"));
      return { id: params.runId };
    }),
    mount(sdkRuns.replay, async ({ params, body, caller, headers }) => {
      const run = found(await engine.getRun(caller.env, params.runId), "run", params.runId);
      const options = { ...replayOptions(run, body, clock.nowMs(), deps.limits), ...origin(headers, deps.random) };
      return { id: accepted(await engine.trigger(caller.env, run.taskIdentifier, options)).runId };
    }),
    mount(sdkRuns.reschedule, async ({ params, body, caller, headers }) => {
      const due = delayOf(body.delay, clock.nowMs(), "delay") ?? new Date(clock.nowMs());
      accepted(await engine.rescheduleRun(caller.env, params.runId, due));
      return retrieved(deps, caller.env, found(await engine.getRun(caller.env, params.runId), "run", params.runId), headers);
    }),
    mount(sdkRuns.addTags, async ({ params, body, caller }) => {
      requireScope(caller, "write", { type: "runs", id: params.runId });
      const tags = checkedTags(body.tags, "tags");
      accepted(await engine.addTags(caller.env, params.runId, tags));
      return { message: `Successfully set ${tags.length} tags` };
    }),
    mount(sdkRuns.resetIdempotencyKey, async ({ params, body, caller }) => {
      accepted(await engine.resetIdempotencyKey(caller.env, body.taskIdentifier, params.key));
      return { id: params.key };
    }),
  ];
}

function metadataRoutes({ engine }: RunDeps): Mounted[] {
  return [
    mount(sdkRuns.getMetadata, async ({ params, caller }) => {
      const run = found(await engine.getRun(caller.env, params.runId), "run", params.runId);
      return { metadata: decodeMetadata(run.metadata, run.metadataType) ?? {} };
    }),
    mount(sdkRuns.updateMetadata, async ({ params, body, caller }) => {
      return { metadata: accepted(await engine.updateMetadata(caller.env, params.runId, given(body))).metadata };
    }),
  ];
}

async function retrieved(deps: RunDeps, env: EnvironmentRef, run: RunView, headers: IncomingHttpHeaders) {
  const { engine, packets } = deps;
  const related = async (id: string | null): Promise<RunView | null> => (id === null || id === run.id ? null : engine.getRun(env, id));
  const [root, parent, children] = await Promise.all([related(run.rootRunId), related(run.parentRunId), engine.childrenOf(env, run.id)]);
  return retrievedRun(run, {
    names: namesFor(headers),
    related: { root, parent, children },
    storedUrl: (key) => packets.downloadUrl(env, key, headers),
  });
}

async function listRuns(deps: RunDeps, env: EnvironmentRef, list: { query: ListRunsQuery; filter: RunFilter; names: StatusNames }) {
  const { query, filter, names } = list;
  const { "page[size]": size, "page[after]": after, "page[before]": before } = query;
  const page = await deps.engine.listRuns(env, filter, { size, ...given({ after, before }) });
  return { data: page.items.map((run) => listedRun(run, env, names)), pagination: cursors(page) };
}

/** Cursors that are there; the SDK takes none for the end. */
export function cursors(page: { readonly next: string | null; readonly previous: string | null }): { next?: string; previous?: string } {
  return given({ next: page.next, previous: page.previous });
}

function namesFor(headers: IncomingHttpHeaders): StatusNames {
  return headers[API_VERSION_HEADER] === undefined ? "old" : "current";
}

/** A run may be read by its own id, by its task, by a tag or by its batch. */
export function targetsOf(run: RunView): Target[] {
  const targets: Target[] = [
    { type: "runs", id: run.id },
    { type: "tasks", id: run.taskIdentifier },
    ...run.tags.map((tag): Target => ({ type: "tags", id: tag })),
  ];
  return run.batchId === null ? targets : [...targets, { type: "batch", id: run.batchId }];
}

/** A list may be read with a scope for one thing only when it is narrowed to that thing. */
function targetsOfFilter({ taskIdentifiers, tags, batchId }: RunFilter): Target[] {
  return [
    { type: "runs", id: "" },
    ...onlyOne("tasks", taskIdentifiers),
    ...onlyOne("tags", tags),
    ...onlyOne("batch", batchId === undefined ? [] : [batchId]),
  ];
}

function onlyOne(type: Target["type"], ids: readonly string[] = []): Target[] {
  const [id] = ids;
  return id !== undefined && ids.length === 1 ? [{ type, id }] : [];
}

/** The options of a run that repeats another: its own, where the body says nothing else. */
function replayOptions(run: RunView, body: ReplayBody, nowMs: number, limits: TriggerLimits): TriggerOptions {
  const { payload, payloadType, queue, version, metadata, ...rest } = body ?? {};
  const changed = triggerOptions({ payload, options: { ...rest, ...given({ payloadType }) }, path: "body" }, nowMs, limits);
  const kept = payload === undefined ? { payloadType: run.payloadType, ...given({ payload: run.payload }) } : {};
  const keptMetadata = run.metadata === null ? {} : { metadata: run.metadata, metadataType: run.metadataType };
  return {
    tags: run.tags,
    isTest: run.isTest,
    priority: run.priority,
    ...given({ concurrencyKey: run.concurrencyKey }),
    ...changed,
    ...kept,
    ...(metadata === undefined ? keptMetadata : { metadata: JSON.stringify(metadata), metadataType: "application/json" }),
    queueName: queue ?? run.queueName,
    ...given({ lockToVersion: version }),
  };
}
