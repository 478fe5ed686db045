import { z } from "zod";
import { MachineName } from "./machine.ts";
import { WireDate } from "./run.ts";
import { route } from "./route.ts";

// Deployments: ours (one call with everything), and what the Trigger.dev CLI asks before it has built anything.

const Retry = z.record(z.string(), z.unknown());
const Queue = z.looseObject({ name: z.string().min(1).max(128), concurrencyLimit: z.number().int().min(0).nullish() });
const Machine = z.union([MachineName, z.looseObject({ preset: MachineName.optional() })]);

/** A task as the project's index holds it; keys without a use here are ignored. */
const ManifestTask = z.looseObject({
  id: z.string().min(1).max(256),
  filePath: z.string().max(1024),
  exportName: z.string().max(256).nullish(),
  queue: z.looseObject({ name: z.string().min(1).max(128).nullish(), concurrencyLimit: z.number().int().min(0).nullish() }).nullish(),
  machine: Machine.nullish(),
  maxDuration: z.number().nonnegative().nullish(),
  retry: Retry.nullish(),
  ttl: z.union([z.string().max(100), z.number().int().nonnegative()]).nullish(),
  triggerSource: z.string().max(64).nullish(),
});
export type ManifestTask = z.infer<typeof ManifestTask>;

export const CreateDeploymentBody = z.object({
  imageReference: z.string().min(1).max(1024),
  contentHash: z.string().min(1).max(256),
  runtime: z.string().max(64).default("node"),
  sdkVersion: z.string().max(64),
  cliVersion: z.string().max(64),
  /** The project's index (`index.json`): its tasks and queues. */
  manifest: z.looseObject({ tasks: z.array(ManifestTask).max(10_000), queues: z.array(Queue).max(10_000).optional() }),
});
export type CreateDeploymentBody = z.infer<typeof CreateDeploymentBody>;

export const DeploymentView = z.object({
  id: z.string(),
  shortCode: z.string(),
  version: z.string(),
  status: z.enum(["PENDING", "DEPLOYED", "FAILED"]),
  imageReference: z.string().nullable(),
  contentHash: z.string(),
  isCurrent: z.boolean(),
  createdAt: WireDate,
  error: z.string().nullable(),
});
export type DeploymentView = z.infer<typeof DeploymentView>;

/** A deployment as the SDK lists it. */
const SdkDeployment = z.object({
  id: z.string(),
  createdAt: WireDate,
  shortCode: z.string(),
  version: z.string(),
  runtime: z.string().nullable(),
  runtimeVersion: z.string().nullable(),
  status: z.enum(["PENDING", "DEPLOYED", "FAILED"]),
  deployedAt: WireDate.optional(),
});

/** A task of the current deployment. */
export const TaskView = z.object({
  id: z.string(),
  filePath: z.string(),
  exportName: z.string().nullable(),
  queueName: z.string(),
  machine: z.string().nullable(),
});
export type TaskView = z.infer<typeof TaskView>;

export const deployments = {
  /** Ours: stores a version with its tasks and makes it the current one, in one step. */
  create: route("POST", "/torpor/v1/deployments", {
    auth: "environment",
    body: CreateDeploymentBody,
    reply: DeploymentView,
    status: 201,
    bodyLimitBytes: 8 * 1024 * 1024,
  }),
  /** Ours: one deployment, with all that is known of it. */
  get: route("GET", "/torpor/v1/deployments/:deploymentId", {
    auth: "environment",
    params: z.object({ deploymentId: z.string().max(128) }),
    reply: DeploymentView,
  }),
  /** Ours: the tasks of the current deployment, by id. */
  listTasks: route("GET", "/torpor/v1/tasks", { auth: "environment", reply: z.object({ tasks: z.array(TaskView) }) }),
  /**
   * Ours: one of them, or 404 that says which there are. A trigger of a task that no version knows yet is no error: its run
   * waits for a version that does. Whoever wants to know before asks here.
   */
  getTask: route("GET", "/torpor/v1/tasks/:taskId", {
    auth: "environment",
    params: z.object({ taskId: z.string().min(1).max(256) }),
    reply: TaskView,
  }),
  list: route("GET", "/api/v1/deployments", {
    auth: "environment",
    query: z.looseObject({
      "page[size]": z.coerce.number().int().min(1).max(100).default(20),
      "page[after]": z.string().max(128).optional(),
    }),
    reply: z.object({
      data: z.array(SdkDeployment),
      pagination: z.object({ next: z.string().optional(), previous: z.string().optional() }),
    }),
  }),
  current: route("GET", "/api/v1/deployments/current", { auth: "environment", reply: SdkDeployment }),
} as const;

const ProjectParams = z.object({ projectRef: z.string().max(128) });
const ProjectEnvParams = ProjectParams.extend({ env: z.string().max(64) });

/** What `trigger deploy --dry-run` asks. */
export const triggerCli = {
  whoami: route("GET", "/api/v2/whoami", {
    auth: "environment",
    query: z.looseObject({ projectRef: z.string().max(128).optional() }),
    reply: z.object({ userId: z.string(), email: z.string(), dashboardUrl: z.string() }),
  }),
  projectEnvironment: route("GET", "/api/v1/projects/:projectRef/:env", {
    auth: "environment",
    params: ProjectEnvParams,
    reply: z.object({ apiKey: z.string(), name: z.string(), apiUrl: z.string(), projectId: z.string() }),
  }),
  deploySettings: route("GET", "/api/v1/projects/:projectRef/:env/deploy-settings", {
    auth: "environment",
    params: ProjectEnvParams,
    reply: z.object({ build_path: z.enum(["depot", "native", "native_local_bundle"]) }),
  }),
  variables: route("GET", "/api/v1/projects/:projectRef/envvars", {
    auth: "environment",
    params: ProjectParams,
    reply: z.object({ variables: z.record(z.string(), z.string()) }),
  }),
} as const;
