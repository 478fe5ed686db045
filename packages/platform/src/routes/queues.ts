import { sdkQueues, type QueueView as QueueReply } from "@torpor/contracts";
import type { EngineForEnvironment, EnvironmentRef, QueueView } from "@torpor/engine";
import type { Mounted } from "@torpor/http";
import { mount } from "../auth/callers.ts";
import { found } from "../refusal.ts";

export interface QueueDeps {
  readonly engine: Pick<EngineForEnvironment, "listQueues" | "getQueue" | "updateQueue">;
}

/** The SDK asks for pages by number; more queues than this are not counted. */
const MAX_LISTED = 2000;
const PAGE_SIZE = 100;

type By = "id" | "task" | "custom";
type Change = Parameters<EngineForEnvironment["updateQueue"]>[2];

export function queueRoutes({ engine }: QueueDeps): Mounted[] {
  const find = async (env: EnvironmentRef, by: By, queue: string): Promise<QueueView> => {
    const name = queueName(queue);
    return found(await engine.getQueue(env, { by, name }), by === "id" ? "queue" : `queue of type ${by} with the name`, name);
  };
  const change = async (env: EnvironmentRef, queue: { by: By; name: string }, changes: Change): Promise<QueueReply> => {
    const { id } = await find(env, queue.by, queue.name);
    return queueReply(found(await engine.updateQueue(env, id, changes), "queue", id));
  };
  return [
    mount(sdkQueues.list, async ({ query, caller }) => {
      const all = await allQueues(engine, caller.env);
      const start = (query.page - 1) * query.perPage;
      const data = all.slice(start, start + query.perPage).map(queueReply);
      return {
        data,
        pagination: { currentPage: query.page, totalPages: Math.max(1, Math.ceil(all.length / query.perPage)), count: all.length },
      };
    }),
    mount(sdkQueues.retrieve, async ({ params, query, caller }) => queueReply(await find(caller.env, query.type, params.queue))),
    mount(sdkQueues.pause, ({ params, body, caller }) =>
      change(caller.env, { by: body.type, name: params.queue }, { paused: body.action === "pause" }),
    ),
    mount(sdkQueues.overrideConcurrency, ({ params, body, caller }) =>
      change(caller.env, { by: body.type, name: params.queue }, { concurrencyLimit: body.concurrencyLimit }),
    ),
    mount(sdkQueues.resetConcurrency, ({ params, body, caller }) =>
      change(caller.env, { by: body.type, name: params.queue }, { concurrencyLimit: "default" }),
    ),
  ];
}

async function allQueues(engine: QueueDeps["engine"], env: EnvironmentRef): Promise<QueueView[]> {
  const queues: QueueView[] = [];
  for (let after: string | undefined; queues.length < MAX_LISTED;) {
    const page = await engine.listQueues(env, { size: PAGE_SIZE, ...(after === undefined ? {} : { after }) });
    queues.push(...page.items);
    if (page.next === null) break;
    after = page.next;
  }
  return queues;
}

/** The SDK escapes slashes in names twice. */
function queueName(param: string): string {
  return param.replace(/%2F/gi, "/");
}

function queueReply(queue: QueueView): QueueReply {
  const { id, name, type, running, queued, paused, concurrencyLimit } = queue;
  return { id, name: type === "task" ? name.replace(/^task\//, "") : name, type, running, queued, paused, concurrencyLimit, version: "V1" };
}
