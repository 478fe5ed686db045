import type { CompletedWaitpoint, ExecutionStatus, RunExecutionData } from "@torpor/contracts";
import type {
  DeploymentInput,
  DeploymentView,
  Engine,
  EnvironmentRef,
  EnvironmentType,
  QueueView,
  RunView,
  TaskDeclaration,
  TriggerOptions,
  TriggerOutcome,
} from "../src/api.ts";
import type { Plane } from "./plane.ts";
import type { UntilOptions } from "./until.ts";
import { latestOf, must, type HeldRun, type Worker } from "./worker.ts";

const UNFINISHED = [
  "DELAYED",
  "PENDING",
  "PENDING_VERSION",
  "DEQUEUED",
  "EXECUTING",
  "WAITING_TO_RESUME",
  "RETRYING_AFTER_FAILURE",
] as const;

/** One project and what its users and nodes do. */
export class Scene {
  readonly plane: Plane;
  readonly environments: readonly EnvironmentRef[];
  #deployments = 0;

  constructor(plane: Plane, environments: readonly EnvironmentRef[]) {
    this.plane = plane;
    this.environments = environments;
  }

  get worker(): Worker {
    return this.plane.worker();
  }

  get engine(): Engine {
    return this.plane.engine;
  }

  get env(): EnvironmentRef {
    return this.environment("PRODUCTION");
  }

  environment(type: EnvironmentType): EnvironmentRef {
    const found = this.environments.find((one) => one.type === type);
    if (found === undefined) throw new Error(`The project has no environment of type ${type}`);
    return found;
  }

  deploy(input: Partial<DeploymentInput> = {}, env = this.env): Promise<DeploymentView> {
    return this.engine.deploy(env, { ...DEPLOYMENT, contentHash: `content-${++this.#deployments}`, ...input });
  }

  tryTrigger(taskId = "work", options: Partial<TriggerOptions> = {}, env = this.env): Promise<TriggerOutcome> {
    return this.engine.trigger(env, taskId, { payloadType: "application/json", ...options });
  }

  /** Triggers and answers the run's id. */
  async trigger(taskId = "work", options: Partial<TriggerOptions> = {}, env = this.env): Promise<string> {
    return must(await this.tryTrigger(taskId, options, env), "triggered").runId;
  }

  /** Triggers a child for whose end the parent waits. */
  triggerAndWait(parent: HeldRun, taskId = "child", options: Partial<TriggerOptions> = {}): Promise<string> {
    return this.trigger(taskId, { parentRunId: parent.runId, resumeParentOnCompletion: true, ...options });
  }

  /** Triggers, takes and starts a run. */
  async executing(taskId = "work", options: Partial<TriggerOptions> = {}): Promise<HeldRun> {
    const runId = await this.trigger(taskId, options);
    const held = await this.worker.takeAndStart();
    if (held.runId !== runId) throw new Error(`Expected to be handed ${runId}, was handed ${held.runId}`);
    return held;
  }

  /** A run that waits for a token; answers the token too. */
  async waiting(): Promise<{ readonly held: HeldRun; readonly tokenId: string }> {
    const held = await this.executing();
    const tokenId = await this.waitForNewToken(held);
    return { held, tokenId };
  }

  /** A run that is asleep until its token is completed. */
  async asleep(location?: string): Promise<{ readonly held: HeldRun; readonly tokenId: string; readonly checkpointId: string }> {
    const { held, tokenId } = await this.waiting();
    return { held, tokenId, checkpointId: await held.suspend(location) };
  }

  async token(options: Parameters<Engine["createToken"]>[1] = {}): Promise<string> {
    return must(await this.engine.createToken(this.env, options), "created").token.id;
  }

  async waitForToken(held: HeldRun, tokenId: string): Promise<void> {
    must(await this.engine.waitForToken(this.env, held.runId, tokenId), "waiting");
    await held.catchUp();
  }

  async waitForNewToken(held: HeldRun, options: Parameters<Engine["createToken"]>[1] = {}): Promise<string> {
    const tokenId = await this.token(options);
    await this.waitForToken(held, tokenId);
    return tokenId;
  }

  async completeToken(tokenId: string, data?: string): Promise<void> {
    must(await this.engine.completeToken(this.env, tokenId, data === undefined ? {} : { data, dataType: "application/json" }), "completed");
  }

  async cancel(runId: string, reason = "not wanted"): Promise<{ readonly alreadyFinished: boolean }> {
    return must(await this.engine.cancelRun(this.env, runId, reason), "canceled");
  }

  async run(runId: string): Promise<RunView> {
    const run = await this.engine.getRun(this.env, runId);
    if (run === null) throw new Error(`The engine does not know ${runId}`);
    return run;
  }

  snapshot(runId: string): Promise<RunExecutionData> {
    return latestOf(this.worker, runId);
  }

  /** Execution status and run status in one word: "QUEUED/PENDING". */
  async state(runId: string): Promise<string> {
    const run = await this.run(runId);
    return `${run.executionStatus}/${run.status}`;
  }

  async untilState(runId: string, state: string, options?: UntilOptions): Promise<void> {
    let last = "";
    const probe = async (): Promise<boolean> => (last = await this.state(runId)) === state;
    await this.plane.until(`${runId} is ${state}`, probe, options).catch((error: unknown) => {
      throw new Error(`${String(error)}; it is ${last}`);
    });
  }

  /** Waits until the run executes again; answers what has woken it. */
  async untilResumed(held: HeldRun, options?: UntilOptions): Promise<readonly CompletedWaitpoint[]> {
    await this.untilState(held.runId, "EXECUTING/EXECUTING", options);
    return (await held.catchUp()).completedWaitpoints;
  }

  /** Waits until the run is handed out, and takes it. */
  async untilTaken(runId: string, options?: UntilOptions): Promise<HeldRun> {
    return this.plane.until(
      `${runId} is handed out`,
      async () => {
        const held = await this.worker.tryTake();
        if (held !== undefined && held.runId !== runId) throw new Error(`Expected to be handed ${runId}, was handed ${held.runId}`);
        return held;
      },
      options,
    );
  }

  /** Execution statuses of all snapshots of a run, in order. */
  async history(runId: string): Promise<ExecutionStatus[]> {
    const found = await this.plane.sql.query<{ execution_status: ExecutionStatus }>(
      "select execution_status from snapshots where run_id = $1 order by seq",
      [body(runId)],
    );
    return found.rows.map((row) => row.execution_status);
  }

  async queue(taskId = "work"): Promise<{ readonly running: number; readonly queued: number }> {
    const found = await this.engine.getQueue(this.env, { by: "task", name: taskId });
    if (found === null) throw new Error(`The engine does not know the queue of ${taskId}`);
    return { running: found.running, queued: found.queued };
  }

  async customQueue(name: string): Promise<QueueView> {
    const found = await this.engine.getQueue(this.env, { by: "custom", name });
    if (found === null) throw new Error(`The engine does not know the queue ${name}`);
    return found;
  }

  /** Counts what runners of a run would be told from now on. */
  listen(runId: string): { count(): number } {
    let count = 0;
    this.engine.onRunChanged((changed) => {
      if (changed === runId) count++;
    });
    return { count: () => count };
  }

  /** Triggers a run that is due in a moment and waits for it; then everything due before has been handled. */
  async delayedRunComesDue(): Promise<void> {
    const delayUntil = new Date(this.plane.clock.nowMs() + 1);
    const runId = await this.trigger("canary", { delayUntil });
    await this.plane.until("the engine has handled a timer", async () => (await this.run(runId)).status === "PENDING");
    await this.cancel(runId);
  }

  async end(): Promise<void> {
    for (const env of this.environments) {
      const { items } = await this.engine.listRuns(env, { statuses: UNFINISHED }, { size: 100 });
      for (const run of items) await this.engine.cancelRun(env, run.id, "end of the test");
    }
  }
}

export function task(id: string, more: Partial<TaskDeclaration> = {}): TaskDeclaration {
  return { id, filePath: `src/${id}.ts`, exportName: id, ...more };
}

/** What every project starts with. */
export const DEPLOYMENT: DeploymentInput = {
  imageReference: "sha256:0000",
  contentHash: "0000",
  runtime: "node-24",
  sdkVersion: "4.8.3",
  cliVersion: "4.8.3",
  tasks: [
    task("work"),
    task("child"),
    task("flaky", { retry: { maxAttempts: 3, minTimeoutInMs: 1_000, factor: 2, randomize: false } }),
    task("hungry", { retry: { maxAttempts: 5, outOfMemory: { machine: "medium-1x" } } }),
    task("solo", { queueName: "single" }),
  ],
  queues: [{ name: "single", concurrencyLimit: 1 }],
};

/** The body of a friendly id, as it stands in the tables. */
export function body(id: string): string {
  return id.slice(id.indexOf("_") + 1);
}

export function inMs(plane: Plane, delayMs: number): Date {
  return new Date(plane.clock.nowMs() + delayMs);
}
