import type { DequeuedMessage } from "@torpor/contracts";
import type { WorkerRef } from "../api.ts";
import { decideHandOut, type HandOutDecision } from "../domain/handOut.ts";
import { readCheckpoints, type CheckpointRow } from "../sql/checkpoints.ts";
import { completedWaitpoints, type CompletedRow } from "../sql/completed.ts";
import type { Transaction } from "../sql/database.ts";
import { lockQueued, nextReadyAt, pickReady, type QueuedRun } from "../sql/dequeue.ts";
import type { RunRow } from "../sql/runs.ts";
import { advance } from "./advance.ts";
import { now, type Core } from "./core.ts";
import { wireMessage } from "./wire.ts";

/** What one look into the queues gave. */
export interface Round {
  /** One for each worker that got something, in the order of the workers. */
  readonly messages: readonly DequeuedMessage[];
  /** Look again at once: something was taken out of the way, or was held by somebody. */
  readonly again: boolean;
  /** Somebody is ready but under a limit that is reached. */
  readonly isBlocked: boolean;
  /** When the next run becomes due that nobody will announce. */
  readonly nextAt: Date | null;
}

/** Hands out at most one run to each of these workers, in one transaction. */
export async function handOutRound(core: Core, workers: readonly WorkerRef[]): Promise<Round> {
  return core.db.transaction(async (tx) => {
    const at = now(core);
    const { environmentConcurrencyLimit: limit, environmentBurstFactor: burst } = core.settings;
    const pick = await pickReady(tx, at, workers.length, { limit, burst });
    const [runs, nextAt] = await Promise.all([
      pick.runIds.length === 0 ? [] : lockQueued(tx, pick.runIds),
      pick.runIds.length < workers.length ? nextReadyAt(tx, at) : null,
    ]);
    if (pick.runIds.length === 0) return { messages: [], again: false, isBlocked: pick.isBlocked, nextAt };
    const sleep = await sleepFacts(tx, runs);
    const messages = await Promise.all(assign(runs, workers).map((one) => act(core, tx, one, sleep, at)));
    const handed = messages.filter((message) => message !== undefined);
    return { messages: handed, again: handed.length < pick.runIds.length, isBlocked: pick.isBlocked, nextAt };
  });
}

interface SleepFacts {
  readonly checkpoints: ReadonlyMap<string, CheckpointRow>;
  readonly completed: ReadonlyMap<string, readonly CompletedRow[]>;
}

async function sleepFacts(tx: Transaction, runs: readonly QueuedRun[]): Promise<SleepFacts> {
  const sleepers = runs.filter((run) => run.checkpoint_id !== null || run.completed_seq !== null);
  if (sleepers.length === 0) return { checkpoints: new Map(), completed: new Map() };
  const [checkpoints, rows] = await Promise.all([
    readCheckpoints(
      tx,
      sleepers.flatMap((run) => run.checkpoint_id ?? []),
    ),
    completedWaitpoints(
      tx,
      sleepers.flatMap((run) => (run.completed_seq === null ? [] : [{ runId: run.id, seq: run.completed_seq }])),
    ),
  ]);
  return { checkpoints, completed: Map.groupBy(rows, (row) => row.run_id) };
}

interface Assignment {
  readonly queued: QueuedRun;
  readonly decision: HandOutDecision;
  readonly worker: WorkerRef | undefined;
}

/** Decides for each run, and gives those that are handed out to the workers in turn. */
function assign(runs: readonly QueuedRun[], workers: readonly WorkerRef[]): Assignment[] {
  let next = 0;
  return runs.map((queued) => {
    const decision = decide(queued);
    return { queued, decision, worker: decision.kind === "handOut" ? workers[next++] : undefined };
  });
}

function decide(queued: QueuedRun): HandOutDecision {
  return decideHandOut({
    deployment: queued.d_id === null || queued.d_version === null ? null : { id: queued.d_id, version: queued.d_version },
    hasTask: queued.t_slug !== null,
    hasQueue: queued.q_id !== null,
    runMachine: queued.machine,
    taskMachine: queued.t_machine,
    runMaxAttempts: queued.max_attempts,
    runMaxDurationSeconds: queued.max_duration_seconds,
    taskMaxDurationSeconds: queued.t_max_duration_seconds,
    taskRetry: queued.t_retry,
  });
}

async function act(core: Core, tx: Transaction, assignment: Assignment, sleep: SleepFacts, at: Date): Promise<DequeuedMessage | undefined> {
  const { queued, decision, worker } = assignment;
  if (decision.kind === "park") {
    advance(core, tx, queued, "park", { at, description: decision.reason });
    return undefined;
  }
  if (worker === undefined) return undefined; // more were locked than asked for: they stay ready
  const isFirst = queued.first_dequeued_at === null;
  const checkpoint = queued.checkpoint_id === null ? undefined : sleep.checkpoints.get(queued.checkpoint_id);
  const run: RunRow = advance(core, tx, queued, "dequeue", {
    at,
    description: checkpoint === undefined ? "Handed to a node" : "Handed to a node, to be restored",
    worker,
    patch: {
      deployment_id: decision.deployment.id,
      version: decision.deployment.version,
      machine: decision.machine,
      max_attempts: decision.maxAttempts,
      max_duration_seconds: decision.maxDurationSeconds,
      retry_config: queued.t_retry ?? null,
      ...(isFirst ? { first_dequeued_at: at } : {}),
    },
  });
  return wireMessage({
    run: { ...run, machine: decision.machine, deployment_id: decision.deployment.id },
    at,
    image: queued.d_image,
    worker: { id: queued.d_worker_id ?? "", version: decision.deployment.version, runtime: queued.d_runtime ?? "node" },
    checkpoint,
    completed: sleep.completed.get(queued.id) ?? [],
    isTest: queued.is_test,
    traceContext: queued.trace_context,
    annotations: queued.annotations,
    organizationId: queued.organization_id,
    projectId: queued.project_id,
    masterQueue: "main",
  });
}
