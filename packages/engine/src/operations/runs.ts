import type { EnvironmentRef, Page, PageRequest, Refusal, RunFilter, RunView, TimelineLine, WorkerRef } from "../api.ts";
import type { RunStatus, TimelineEvent } from "@torpor/contracts";
import { storedKey } from "../domain/idempotency.ts";
import { dropKey } from "../sql/idempotency.ts";
import * as views from "../sql/runViews.ts";
import { lockRun, runExists } from "../sql/runs.ts";
import { addRunEvents, readTimeline } from "../sql/timeline.ts";
import { moveTimer } from "../sql/timers.ts";
import { idBody, notFound, now, refuse, type Core } from "./core.ts";
import { pageOf } from "./pages.ts";

/** Tags of one run; the SDK's limit. */
const MAX_TAGS = 10;

export async function listRuns(core: Core, env: EnvironmentRef, filter: RunFilter, page: PageRequest): Promise<Page<RunView>> {
  const rows = await views.listRunViews(core.db, env.id, {
    statuses: filter.statuses ?? null,
    tasks: filter.taskIdentifiers ?? null,
    tags: filter.tags ?? null,
    batchId: filter.batchId === undefined ? null : idBody("batch", filter.batchId),
    createdAfter: filter.createdAfter ?? null,
    createdBefore: filter.createdBefore ?? null,
    after: page.after === undefined ? null : idBody("run", page.after),
    before: page.before === undefined ? null : idBody("run", page.before),
    limit: page.size + 1,
  });
  return pageOf(rows, page, (run) => run.id);
}

export async function timeline(core: Core, env: EnvironmentRef, runId: string): Promise<readonly TimelineLine[] | null> {
  const body = idBody("run", runId);
  if ((await views.environmentOfRun(core.db, body)) !== env.id) return null;
  return (await readTimeline(core.db, body)).map((row) => ({
    source: row.source,
    name: row.name,
    at: row.at,
    ...(row.duration_ms === null ? {} : { durationMs: row.duration_ms }),
    ...(row.reason === null ? {} : { reason: row.reason }),
    ...(row.runner_id === null ? {} : { runnerId: row.runner_id }),
    ...(row.snapshot_id === null ? {} : { snapshotId: row.snapshot_id }),
    ...(row.properties === null || row.properties === undefined ? {} : { properties: row.properties }),
  }));
}

export async function addTimeline(
  core: Core,
  _worker: WorkerRef,
  runId: string,
  events: readonly TimelineEvent[],
): Promise<{ readonly kind: "added" } | Refusal> {
  const body = idBody("run", runId);
  if (!(await runExists(core.db, body))) return notFound("run", runId);
  await addRunEvents(core.db, body, events, core.settings.timelineLinesPerRun);
  return { kind: "added" };
}

export async function addTags(
  core: Core,
  env: EnvironmentRef,
  runId: string,
  tags: readonly string[],
): Promise<{ readonly kind: "added" } | Refusal> {
  const body = idBody("run", runId);
  if (await views.addTags(core.db, env.id, body, tags, now(core), MAX_TAGS)) return { kind: "added" };
  if ((await views.environmentOfRun(core.db, body)) !== env.id) return notFound("run", runId);
  return refuse("request_unprocessable", `Cannot add tags to run ${runId}: it would have more than ${MAX_TAGS}`, "tags");
}

/** Moves the time of a run that is still delayed. */
export async function rescheduleRun(
  core: Core,
  env: EnvironmentRef,
  runId: string,
  delayUntil: Date,
): Promise<{ readonly kind: "rescheduled" } | Refusal> {
  return core.db.transaction(async (tx) => {
    const run = await lockRun(tx, idBody("run", runId));
    if (run === undefined || run.environment_id !== env.id) return notFound("run", runId);
    if (run.execution_status !== "DELAYED")
      return refuse("request_unprocessable", `Cannot reschedule run ${runId}: it is not delayed, its status is ${run.status}`);
    await views.setDelay(tx, run.id, delayUntil, now(core));
    await moveTimer(tx, "delay", run.id, delayUntil);
    tx.afterCommit(() => core.wakes.timer(delayUntil));
    return { kind: "rescheduled" };
  });
}

export async function resetIdempotencyKey(
  core: Core,
  env: EnvironmentRef,
  task: string,
  key: string,
): Promise<{ readonly kind: "reset" } | Refusal> {
  if (await dropKey(core.db, env.id, `run/${task}`, storedKey(key))) return { kind: "reset" };
  return refuse("not_found", `Cannot find idempotency key ${key} of task ${task}`);
}

export async function counts(core: Core): Promise<{
  readonly byStatus: Partial<Record<RunStatus, number>>;
  readonly executing: number;
  readonly suspended: number;
  readonly queued: number;
}> {
  const { byStatus, ...numbers } = await views.countRuns(core.db);
  return { byStatus: Object.fromEntries(byStatus.map((row) => [row.status, row.runs])), ...numbers };
}
