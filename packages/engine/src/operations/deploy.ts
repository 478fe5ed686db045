import { randomText } from "@torpor/kernel";
import type { DeploymentInput, DeploymentView, EnvironmentRef, Page, PageRequest, TaskDeclaration, TaskView } from "../api.ts";
import { friendly, newId } from "../domain/ids.ts";
import { sanitizeQueueName, taskQueueName } from "../domain/queueing.ts";
import { dayOf, nextVersion } from "../domain/versions.ts";
import * as deployments from "../sql/deployments.ts";
import { tellPromoted } from "../sql/notify.ts";
import { releasable, setQueue } from "../sql/parked.ts";
import { declareQueues, type DeclaredQueue } from "../sql/queues.ts";
import { lockRun } from "../sql/runs.ts";
import { armTimers, moveTimer, takeClaimed, type DueTimer } from "../sql/timers.ts";
import { advance } from "./advance.ts";
import { idBody, now, type Core } from "./core.ts";
import { pageOf } from "./pages.ts";
import { armTtl } from "./ttl.ts";

/** Stores a version with its tasks and queues and makes it current. What is current already is answered as it is. */
export async function deploy(core: Core, env: EnvironmentRef, input: DeploymentInput): Promise<DeploymentView> {
  return core.db.transaction(async (tx) => {
    await deployments.lockEnvironment(tx, env.id);
    const current = await deployments.currentDeployment(tx, env.id);
    if (current !== undefined && current.content_hash === input.contentHash && current.image_reference === input.imageReference)
      return view(current);
    await deployments.lockTurn(tx, env.id);
    const at = now(core);
    const day = dayOf(at);
    const id = newId(at.getTime(), core.random);
    const version = nextVersion(day, await deployments.versionsOfDay(tx, env.id, day));
    await deployments.insertDeployment(tx, {
      id,
      environmentId: env.id,
      workerId: newId(at.getTime(), core.random),
      shortCode: randomText(core.random, 8),
      version,
      imageReference: input.imageReference,
      contentHash: input.contentHash,
      runtime: input.runtime,
      sdkVersion: input.sdkVersion,
      cliVersion: input.cliVersion,
      at,
    });
    await deployments.insertTasks(tx, id, input.tasks.map(taskRow));
    await declareQueues(tx, env.id, queuesOf(core, input, at));
    await deployments.promote(tx, env.id, id);
    await tellPromoted(tx, env.id);
    await armTimers(tx, "promote", [env.id], at);
    tx.afterCommit(() => core.wakes.timer(at));
    const made = await deployments.deploymentByVersion(tx, env.id, version);
    if (made === undefined) throw new Error(`Cannot find version ${version} right after storing it`);
    return view(made);
  });
}

function queueOf(task: TaskDeclaration): string {
  return task.queueName === undefined ? taskQueueName(task.id) : sanitizeQueueName(task.queueName);
}

function taskRow(task: TaskDeclaration): deployments.TaskRow {
  return {
    slug: task.id,
    file_path: task.filePath,
    export_name: task.exportName ?? null,
    queue_name: queueOf(task),
    machine: task.machine ?? null,
    max_duration_seconds: task.maxDurationSeconds ?? null,
    retry: task.retry ?? null,
    ttl_seconds: task.ttlSeconds ?? null,
    trigger_source: task.triggerSource ?? null,
  };
}

/** The queues that the deployment names, and one for each task that names none. */
function queuesOf(core: Core, input: DeploymentInput, at: Date): DeclaredQueue[] {
  const byName = new Map<string, DeclaredQueue>();
  for (const task of input.tasks) {
    const name = queueOf(task);
    const type = name === taskQueueName(task.id) ? "task" : "custom";
    byName.set(name, { id: newId(at.getTime(), core.random), name, type, concurrency_limit: null });
  }
  for (const queue of input.queues) {
    const name = sanitizeQueueName(queue.name);
    const type = byName.get(name)?.type ?? "custom";
    byName.set(name, { id: newId(at.getTime(), core.random), name, type, concurrency_limit: queue.concurrencyLimit ?? null });
  }
  return [...byName.values()];
}

/** Queues the runs that waited for a version which knows them, some at a time; more of them follow at once. */
export async function promoteParked(core: Core, timer: DueTimer): Promise<void> {
  const runs = await releasable(core.db, timer.subject, core.settings.promoteBatchSize);
  for (const run of runs) await enqueueParked(core, run.run_id, run.queue_name);
  // The timer stays until all are through; a deployment meanwhile has moved it, and it is left alone.
  if (runs.length < core.settings.promoteBatchSize) return void (await takeClaimed(core.db, timer));
  const at = now(core);
  await moveTimer(core.db, "promote", timer.subject, at);
  core.wakes.timer(at);
}

async function enqueueParked(core: Core, runId: string, queueName: string): Promise<void> {
  await core.db.transaction(async (tx) => {
    const run = await lockRun(tx, runId);
    if (run?.execution_status !== "RUN_CREATED") return;
    const at = now(core);
    await setQueue(tx, runId, queueName);
    advance(core, tx, run, "enqueue", { at, description: "A version that knows it was deployed: queued" });
    await armTtl(core, tx, run, at);
  });
}

export async function listDeployments(core: Core, env: EnvironmentRef, page: PageRequest): Promise<Page<DeploymentView>> {
  const after = page.after === undefined ? undefined : idBody("deployment", page.after);
  const before = page.before === undefined ? undefined : idBody("deployment", page.before);
  const rows = await deployments.listDeployments(core.db, env.id, { after, before, limit: page.size + 1 });
  return pageOf(rows.map(view), page, (deployment) => deployment.id);
}

export async function currentDeployment(core: Core, env: EnvironmentRef): Promise<DeploymentView | null> {
  const row = await deployments.currentDeployment(core.db, env.id);
  return row === undefined ? null : view(row);
}

export async function listTasks(core: Core, env: EnvironmentRef): Promise<readonly TaskView[]> {
  const rows = await deployments.currentTasks(core.db, env.id);
  return rows.map((row) => ({
    id: row.slug,
    filePath: row.file_path,
    exportName: row.export_name,
    queueName: row.queue_name,
    machine: row.machine,
  }));
}

function view(row: deployments.DeploymentRow): DeploymentView {
  return {
    id: friendly("deployment", row.id),
    shortCode: row.short_code,
    version: row.version,
    status: row.status,
    imageReference: row.image_reference,
    contentHash: row.content_hash,
    isCurrent: row.is_current,
    createdAt: row.created_at,
    error: row.error,
  };
}
