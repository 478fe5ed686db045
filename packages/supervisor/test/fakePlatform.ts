// A small platform: one history per run, guarded by the latest snapshot's id, as the engine guards it.
import {
  MACHINES,
  machinePreset,
  TorporError,
  workerActions,
  type CompletedWaitpoint,
  type DequeuedMessage,
  type ExecutionStatus,
  type RunExecutionData,
  type RunStatus,
  type TimelineEvent,
  type WaitFacts,
} from "@torpor/contracts";
import { mounter, type Mounted } from "@torpor/http";
import type { Clock } from "@torpor/kernel";

const mount = mounter<{ worker: null }>();
const RUN_STATUS: Partial<Record<ExecutionStatus, RunStatus>> = {
  QUEUED: "PENDING",
  PENDING_EXECUTING: "DEQUEUED",
  SUSPENDED: "WAITING_TO_RESUME",
  FINISHED: "COMPLETED_SUCCESSFULLY",
  PENDING_CANCEL: "CANCELED",
};

interface FakeRun {
  readonly id: string;
  attemptNumber: number;
  checkpoint: RunExecutionData["checkpoint"];
  readonly history: RunExecutionData[];
  readonly released: string[];
  readonly restoreOutcomes: { outcome: string; reason: string }[];
  readonly completions: unknown[];
  waitpointId: string;
}

export interface FakePlatformOptions {
  readonly clock: Clock;
  /** False: behaves as a platform that knows none of our extras. */
  readonly isOurs?: boolean;
  /** Environment that a start gives to the task. */
  readonly envVars?: Readonly<Record<string, string>>;
  readonly image?: string;
  readonly task?: { readonly id: string; readonly filePath: string; readonly payload: string };
}

export class FakePlatform {
  readonly runs = new Map<string, FakeRun>();
  readonly timeline: { runId: string; event: TimelineEvent }[] = [];
  readonly heartbeats: { runId: string; snapshotId: string }[] = [];
  /** Told of a change that the real one pushes over its socket. */
  onNotify: (runId: string) => void = () => {};
  readonly #options: FakePlatformOptions;
  readonly #ready: string[] = [];
  readonly #pollers: (() => void)[] = [];
  #serial = 0;

  constructor(options: FakePlatformOptions) {
    this.#options = options;
  }

  /** A new run in the queue. */
  trigger(id = `run_${String(++this.#serial).padStart(4, "0")}abc`): string {
    const run: FakeRun = {
      id,
      attemptNumber: 0,
      checkpoint: undefined,
      history: [],
      released: [],
      restoreOutcomes: [],
      completions: [],
      waitpointId: "",
    };
    this.runs.set(id, run);
    this.#requeue(run);
    return id;
  }

  run(id: string): FakeRun {
    const run = this.runs.get(id);
    if (run === undefined) throw new TorporError("not_found", `Cannot find run ${id}`);
    return run;
  }

  latest(id: string): RunExecutionData {
    return last(this.run(id));
  }

  status(id: string): ExecutionStatus {
    return this.latest(id).snapshot.executionStatus;
  }

  statuses(id: string): ExecutionStatus[] {
    return this.run(id).history.map(({ snapshot }) => snapshot.executionStatus);
  }

  /** The engine lets a run wait that executes, and no other: one that is to be cancelled does not begin to wait. */
  canWait(id: string): boolean {
    return ["EXECUTING", "EXECUTING_WITH_WAITPOINTS"].includes(this.status(id));
  }

  /** The run begins to wait; returns the snapshot at which it does. */
  block(id: string, waitpointId = `waitpoint_${this.#id()}`, torporWait?: WaitFacts): string {
    if (!this.canWait(id)) throw new Error(`Cannot make run ${id} wait: it is ${this.status(id)}`);
    this.run(id).waitpointId = waitpointId;
    return this.#append(this.run(id), "EXECUTING_WITH_WAITPOINTS", { notify: true, ...(torporWait === undefined ? {} : { torporWait }) });
  }

  /** The wait is over. */
  wake(id: string): void {
    const run = this.run(id);
    const waitpoints = [waitpoint(run.waitpointId, this.#options.clock)];
    if (last(run).snapshot.executionStatus === "EXECUTING_WITH_WAITPOINTS") this.#append(run, "EXECUTING", { notify: true, waitpoints });
    else if (last(run).snapshot.executionStatus === "SUSPENDED") this.#requeue(run, waitpoints);
    else throw new Error(`Cannot wake a run that is ${last(run).snapshot.executionStatus}`);
  }

  /** Cancels the run. */
  cancel(id: string): void {
    const run = this.run(id);
    const isExecuting = ["EXECUTING", "EXECUTING_WITH_WAITPOINTS", "PENDING_EXECUTING"].includes(last(run).snapshot.executionStatus);
    this.#append(run, isExecuting ? "PENDING_CANCEL" : "FINISHED", { notify: isExecuting });
  }

  /** What happens when the run's runner stops answering. */
  stall(id: string): void {
    const run = this.run(id);
    run.checkpoint = undefined;
    this.#requeue(run);
  }

  routes(): Mounted[] {
    const isOurs = this.#options.isOurs ?? true;
    return [
      mount(workerActions.connect, async () => ({ ok: true as const, workerGroup: { type: "MANAGED", name: "test" } })),
      mount(workerActions.heartbeat, async () => ({ ok: true as const })),
      mount(workerActions.dequeue, async ({ signal }) => this.#dequeue(signal)),
      mount(workerActions.runHeartbeat, async ({ params }) => {
        this.heartbeats.push(params);
        return { ok: true as const };
      }),
      mount(workerActions.startAttempt, async ({ params }) => this.#start(params)),
      mount(workerActions.completeAttempt, async ({ params, body }) => this.#complete(params, body.completion, body.forceRequeue === true)),
      mount(workerActions.latestSnapshot, async ({ params }) => ({ execution: this.latest(params.runId) })),
      mount(workerActions.snapshotsSince, async ({ params }) => {
        const { history } = this.run(params.runId);
        return { snapshots: history.filter(({ snapshot }) => snapshot.friendlyId > params.snapshotId) };
      }),
      mount(workerActions.continueRun, async ({ params }) => {
        const run = this.#guarded(params, ["PENDING_EXECUTING"]);
        this.#append(run, "EXECUTING", { waitpoints: last(run).completedWaitpoints, notify: true });
        return last(run);
      }),
      mount(workerActions.completeSuspension, async ({ params, body }) => {
        const run = this.run(params.runId);
        const isCurrent =
          last(run).snapshot.friendlyId === params.snapshotId && last(run).snapshot.executionStatus === "EXECUTING_WITH_WAITPOINTS";
        if (body.success && isCurrent) {
          run.checkpoint = { ...body.checkpoint, id: `checkpoint_${this.#id()}`, friendlyId: `checkpoint_${this.#id()}` };
          this.#append(run, "SUSPENDED");
        }
        return { ok: true as const, ...(isOurs ? { accepted: body.success && isCurrent } : {}) };
      }),
      ...(isOurs ? this.#ownRoutes() : []),
    ];
  }

  #ownRoutes(): Mounted[] {
    return [
      mount(workerActions.release, async ({ params, body }) => {
        const run = this.#guarded(params, ["PENDING_EXECUTING"]);
        run.released.push(body.reason);
        this.#append(run, "QUEUED");
        return { ok: true as const, requeued: true };
      }),
      mount(workerActions.restoreOutcome, async ({ params, body }) => {
        const run = this.#guarded(params, ["PENDING_EXECUTING"]);
        run.restoreOutcomes.push({ outcome: body.outcome, reason: body.reason });
        if (body.outcome === "fail") run.checkpoint = undefined;
        this.#append(run, "QUEUED");
        return { ok: true as const };
      }),
      mount(workerActions.timeline, async ({ params, body }) => {
        for (const event of body.events) this.timeline.push({ runId: params.runId, event });
        return { ok: true as const };
      }),
      mount(workerActions.liveCheckpoints, async ({ body }) => ({
        live: body.locations.filter((location) =>
          [...this.runs.values()].some(
            (run) =>
              run.checkpoint?.location === location &&
              ["SUSPENDED", "QUEUED", "PENDING_EXECUTING"].includes(last(run).snapshot.executionStatus),
          ),
        ),
      })),
    ];
  }

  /** Hands a run that was given back out again. */
  offerAgain(id: string): void {
    this.#ready.push(id);
    for (const wake of this.#pollers.splice(0)) wake();
  }

  async #dequeue(signal: AbortSignal): Promise<DequeuedMessage[]> {
    if (this.#ready.length === 0) {
      await new Promise<void>((resolve) => {
        this.#pollers.push(resolve);
        signal.addEventListener("abort", () => resolve(), { once: true });
        this.#options.clock.after(5_000, () => resolve());
      });
    }
    const id = signal.aborted ? undefined : this.#ready.shift();
    return id === undefined ? [] : [this.#handOut(this.run(id))];
  }

  #handOut(run: FakeRun): DequeuedMessage {
    const waitpoints = last(run).completedWaitpoints;
    this.#append(run, "PENDING_EXECUTING", { waitpoints });
    const { checkpoint } = run;
    return {
      version: "1",
      snapshot: last(run).snapshot,
      dequeuedAt: new Date(this.#options.clock.nowMs()),
      image: this.#options.image ?? "torpor/test@sha256:00",
      ...(checkpoint === undefined ? {} : { checkpoint }),
      completedWaitpoints: waitpoints,
      backgroundWorker: { id: "worker_1", friendlyId: "worker_1", version: "20260101.1" },
      deployment: { id: "dep", friendlyId: "deployment_1" },
      run: {
        id: run.id,
        friendlyId: run.id,
        isTest: false,
        isReplay: false,
        machine: machinePreset("small-1x"),
        attemptNumber: run.attemptNumber + (checkpoint === undefined ? 1 : 0),
        masterQueue: "main",
        traceContext: {},
      },
      environment: { id: "env_1", type: "PRODUCTION" },
      organization: { id: "org_1" },
      project: { id: "project_1" },
    };
  }

  #start(at: { runId: string; snapshotId: string }) {
    const run = this.#guarded(at, ["PENDING_EXECUTING", "EXECUTING"]);
    run.attemptNumber++;
    this.#append(run, "EXECUTING");
    const now = new Date(this.#options.clock.nowMs());
    const task = this.#options.task ?? { id: "t", filePath: "t.ts", payload: "{}" };
    return {
      ...last(run),
      execution: {
        attempt: { number: run.attemptNumber, startedAt: now },
        run: {
          id: run.id,
          payload: task.payload,
          payloadType: "application/json",
          createdAt: now,
          tags: [],
          isTest: false,
          isReplay: false,
          startedAt: now,
        },
        task: { id: task.id, filePath: task.filePath },
        queue: { id: "queue_1", name: `task/${task.id}` },
        environment: { id: "env_1", slug: "prod", type: "PRODUCTION" as const },
        organization: { id: "org_1", slug: "o", name: "o" },
        project: { id: "project_1", ref: "proj_x", slug: "p", name: "p" },
        machine: { name: "small-1x", ...MACHINES["small-1x"], centsPerMs: 0 },
      },
      envVars: { ...this.#options.envVars },
    };
  }

  #complete(
    at: { runId: string; snapshotId: string },
    completion: { ok: boolean; retry?: { delay: number } | undefined },
    forceRequeue: boolean,
  ) {
    const run = this.#guarded(at, ["EXECUTING", "EXECUTING_WITH_WAITPOINTS", "PENDING_CANCEL"]);
    run.completions.push(completion);
    if (!completion.ok && completion.retry !== undefined && !forceRequeue) {
      this.#append(run, "EXECUTING");
      return { result: { attemptStatus: "RETRY_IMMEDIATELY" as const, ...last(run) } };
    }
    if (forceRequeue) {
      this.#requeue(run);
      return { result: { attemptStatus: "RETRY_QUEUED" as const, ...last(run) } };
    }
    this.#append(run, "FINISHED");
    return { result: { attemptStatus: "RUN_FINISHED" as const, ...last(run) } };
  }

  #guarded(at: { runId: string; snapshotId: string }, allowed: readonly ExecutionStatus[]): FakeRun {
    const run = this.run(at.runId);
    const latest = last(run);
    if (latest.snapshot.friendlyId !== at.snapshotId)
      throw new TorporError("snapshot_stale", `Cannot act on ${at.snapshotId}: the latest is ${latest.snapshot.friendlyId}`);
    if (!allowed.includes(latest.snapshot.executionStatus))
      throw new TorporError("request_unprocessable", `Cannot act on a run that is ${latest.snapshot.executionStatus}`);
    return run;
  }

  #requeue(run: FakeRun, waitpoints: CompletedWaitpoint[] = []): void {
    this.#append(run, "QUEUED", { waitpoints });
    this.offerAgain(run.id);
  }

  #append(
    run: FakeRun,
    status: ExecutionStatus,
    options: { waitpoints?: CompletedWaitpoint[]; notify?: boolean; torporWait?: WaitFacts } = {},
  ): string {
    const friendlyId = `snapshot_${this.#id()}`;
    const keepsCheckpoint = ["SUSPENDED", "QUEUED", "PENDING_EXECUTING"].includes(status);
    if (!keepsCheckpoint) run.checkpoint = undefined;
    run.history.push({
      version: "1",
      snapshot: {
        id: friendlyId,
        friendlyId,
        executionStatus: status,
        description: status,
        createdAt: new Date(this.#options.clock.nowMs()),
      },
      run: {
        id: run.id,
        friendlyId: run.id,
        status: RUN_STATUS[status] ?? "EXECUTING",
        attemptNumber: run.attemptNumber === 0 ? null : run.attemptNumber,
      },
      ...(run.checkpoint === undefined ? {} : { checkpoint: run.checkpoint }),
      completedWaitpoints: options.waitpoints ?? [],
      ...(options.torporWait === undefined ? {} : { torporWait: options.torporWait }),
    });
    if (options.notify === true) this.onNotify(run.id);
    return friendlyId;
  }

  #id(): string {
    return String(++this.#serial).padStart(10, "0");
  }
}

function last(run: FakeRun): RunExecutionData {
  const latest = run.history.at(-1);
  if (latest === undefined) throw new Error(`Cannot find a snapshot of ${run.id}`);
  return latest;
}

function waitpoint(id: string, clock: Clock): CompletedWaitpoint {
  return { id, friendlyId: id, type: "DATETIME", completedAt: new Date(clock.nowMs()), outputIsError: false };
}
