import { TorporError, deployments, type CreateDeploymentBody, type ManifestTask } from "@torpor/contracts";
import type { DeploymentInput, DeploymentView, EngineForEnvironment, EnvironmentRef, TaskDeclaration } from "@torpor/engine";
import type { Mounted } from "@torpor/http";
import { mount } from "../auth/callers.ts";
import { given } from "../given.ts";
import { found } from "../refusal.ts";
import { ttlSecondsOf } from "../runs/times.ts";
import { cursors } from "./runs.ts";

export interface DeploymentDeps {
  readonly engine: Pick<EngineForEnvironment, "deploy" | "listDeployments" | "currentDeployment" | "listTasks">;
}

export function deploymentRoutes({ engine }: DeploymentDeps): Mounted[] {
  return [
    mount(deployments.create, ({ body, caller }) => engine.deploy(caller.env, deploymentInput(body))),
    mount(deployments.get, ({ params, caller }) => findDeployment(engine, caller.env, params.deploymentId)),
    mount(deployments.listTasks, async ({ caller }) => ({ tasks: [...(await engine.listTasks(caller.env))] })),
    mount(deployments.getTask, async ({ params, caller }) => {
      const tasks = await engine.listTasks(caller.env);
      return tasks.find(({ id }) => id === params.taskId) ?? noSuchTask(params.taskId, tasks);
    }),
    mount(deployments.list, async ({ query, caller }) => {
      const after = query["page[after]"];
      const page = await engine.listDeployments(caller.env, { size: query["page[size]"], ...(after === undefined ? {} : { after }) });
      return { data: page.items.map(sdkDeployment), pagination: cursors(page) };
    }),
    mount(deployments.current, async ({ caller }) =>
      sdkDeployment(found(await engine.currentDeployment(caller.env), "a current deployment of environment", caller.env.slug)),
    ),
  ];
}

/** Names listed in an error; the rest is counted. */
const NAMES_SHOWN = 10;

function noSuchTask(taskId: string, tasks: readonly { readonly id: string }[]): never {
  const names = tasks
    .slice(0, NAMES_SHOWN)
    .map(({ id }) => id)
    .join(", ");
  const known =
    tasks.length === 0
      ? "nothing is deployed"
      : `it has ${names}${tasks.length > NAMES_SHOWN ? ` and ${tasks.length - NAMES_SHOWN} more` : ""}`;
  throw new TorporError("not_found", `Cannot find task ${JSON.stringify(taskId)} in the current deployment: ${known}`);
}

const PAGE_SIZE = 100;
const MAX_PAGES = 20;

async function findDeployment(engine: DeploymentDeps["engine"], env: EnvironmentRef, id: string): Promise<DeploymentView> {
  let after: string | undefined;
  for (let pageNumber = 0; pageNumber < MAX_PAGES; pageNumber++) {
    const page = await engine.listDeployments(env, { size: PAGE_SIZE, ...(after === undefined ? {} : { after }) });
    const deployment = page.items.find((item) => item.id === id || item.version === id || item.shortCode === id);
    if (deployment !== undefined) return deployment;
    if (page.next === null) break;
    after = page.next;
  }
  throw new TorporError("not_found", `Cannot find deployment ${JSON.stringify(id)} in environment ${env.slug}`);
}

function sdkDeployment(deployment: DeploymentView) {
  const { id, createdAt, shortCode, version, status } = deployment;
  return {
    id,
    createdAt,
    shortCode,
    version,
    runtime: null,
    runtimeVersion: null,
    status,
    ...(status === "DEPLOYED" ? { deployedAt: createdAt } : {}),
  };
}

/** The engine's declaration of a deployment from a project's index. Queues that only a task names are declared too. */
export function deploymentInput(body: CreateDeploymentBody): DeploymentInput {
  const { imageReference, contentHash, runtime, sdkVersion, cliVersion, manifest } = body;
  const queues = new Map<string, number | undefined>();
  for (const queue of manifest.queues ?? []) queues.set(queue.name, queue.concurrencyLimit ?? undefined);
  for (const { queue } of manifest.tasks) {
    const name = queue?.name ?? undefined;
    if (name !== undefined) queues.set(name, queue?.concurrencyLimit ?? queues.get(name));
  }
  return {
    imageReference,
    contentHash,
    runtime,
    sdkVersion,
    cliVersion,
    tasks: manifest.tasks.map((task, index) => taskDeclaration(task, `manifest.tasks[${index}]`)),
    queues: [...queues].map(([name, concurrencyLimit]) => ({ name, ...(concurrencyLimit === undefined ? {} : { concurrencyLimit }) })),
  };
}

function taskDeclaration(task: ManifestTask, path: string): TaskDeclaration {
  const machine = typeof task.machine === "string" ? task.machine : task.machine?.preset;
  return {
    id: task.id,
    filePath: task.filePath,
    ...given({
      exportName: task.exportName,
      queueName: task.queue?.name,
      machine,
      maxDurationSeconds: task.maxDuration,
      retry: task.retry,
      ttlSeconds: typeof task.ttl === "string" ? ttlSecondsOf(task.ttl, `${path}.ttl`) : task.ttl,
      triggerSource: task.triggerSource,
    }),
  };
}
