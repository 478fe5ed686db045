import type { EnvironmentRef, Page, PageRequest, QueueView } from "../api.ts";
import { friendly } from "../domain/ids.ts";
import { taskQueueName } from "../domain/queueing.ts";
import { listQueues as listQueueRows, readQueue, updateQueue as updateQueueRow, type QueueRow } from "../sql/queues.ts";
import { idBody, type Core } from "./core.ts";
import { pageOf } from "./pages.ts";

function view(row: QueueRow): QueueView {
  return {
    id: friendly("queue", row.id),
    name: row.name,
    type: row.type,
    running: row.running,
    queued: row.queued,
    paused: row.paused,
    concurrencyLimit: row.concurrency_limit,
  };
}

/** In the order of their names, which are the cursors. */
export async function listQueues(core: Core, env: EnvironmentRef, page: PageRequest): Promise<Page<QueueView>> {
  const rows = await listQueueRows(core.db, env.id, { after: page.after, before: page.before, limit: page.size + 1 });
  return pageOf(rows.map(view), page, (queue) => queue.name);
}

export async function getQueue(
  core: Core,
  env: EnvironmentRef,
  queue: { readonly by: "id" | "task" | "custom"; readonly name: string },
): Promise<QueueView | null> {
  const by =
    queue.by === "id"
      ? { id: idBody("queue", queue.name) }
      : queue.by === "task"
        ? { name: taskQueueName(queue.name) }
        : { name: queue.name };
  const row = await readQueue(core.db, env.id, by);
  return row === undefined ? null : view(row);
}

/** Pauses a queue, lets it go on, or sets its limit by hand; "default" takes the deployed limit again. */
export async function updateQueue(
  core: Core,
  env: EnvironmentRef,
  queueId: string,
  change: { readonly paused?: boolean; readonly concurrencyLimit?: number | "default" },
): Promise<QueueView | null> {
  const id = idBody("queue", queueId);
  if (!(await updateQueueRow(core.db, env.id, id, { paused: change.paused, concurrencyLimit: change.concurrencyLimit }))) return null;
  core.wakes.ready();
  const row = await readQueue(core.db, env.id, { id });
  return row === undefined ? null : view(row);
}
