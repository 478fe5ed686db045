import type { DequeuedMessage } from "@torpor/contracts";
import type { WorkerRef } from "../api.ts";
import { decideHandOut, type HandOutDecision } from "../domain/handOut.ts";
import { matchTakers, nodeName, nodeOf } from "../domain/nodes.ts";
import { readCheckpoints, type CheckpointRow } from "../sql/checkpoints.ts";
import { completedWaitpoints, type CompletedRow } from "../sql/completed.ts";
import type { Transaction } from "../sql/database.ts";
import { lockQueued, nextReadyAt, pickReady, type QueuedRun } from "../sql/dequeue.ts";
import type { RunRow } from "../sql/runs.ts";
import { advance } from "./advance.ts";
import { now, type Core } from "./core.ts";
import { wireMessage } from "./wire.ts";

export interface HandedOut {
  /** Index among the workers of the round. */
  readonly to: number;
  readonly message: DequeuedMessage;
}

/** What one look into the queues gave. */
export interface Round {
  /** What was handed out, and to which of the workers. */
  readonly handed: readonly HandedOut[];
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
    const pick = await pickReady(tx, { ...pickSettings(core), now: at, asking: countNodes(workers) });
    const isAllGiven = pick.runs.length === workers.length;
    const [runs, nextReady] = await Promise.all([
      pick.runs.length === 0
        ? []
        : lockQueued(
            tx,
            pick.runs.map((run) => run.runId),
          ),
      isAllGiven ? null : nextReadyAt(tx, at),
    ]);
    const rest = { isBlocked: pick.isBlocked, nextAt: earlier(nextReady, pick.nextLostAt) };
    if (pick.runs.length === 0) return { handed: [], again: false, ...rest };
    const sleep = await sleepFacts(tx, runs);
    const homes = new Map(pick.runs.map((run) => [run.runId, run.node]));
    const results = await Promise.all(assign(runs, homes, workers).map((one) => act(core, tx, one, sleep, at)));
    const handed = results.filter((one) => one !== undefined);
    return { handed, again: handed.length < pick.runs.length, ...rest };
  });
}

function pickSettings(core: Core) {
  const { environmentConcurrencyLimit: limit, environmentBurstFactor: burst, nodeLostAfterMs } = core.settings;
  return { limit, burst, nodeLostAfterMs };
}

/** How many of the workers are of each node. */
function countNodes(workers: readonly WorkerRef[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const node of workers.map(nodeOf)) counts.set(node, (counts.get(node) ?? 0) + 1);
  return counts;
}

function earlier(a: Date | null, b: Date | null): Date | null {
  if (a === null || b === null) return a ?? b;
  return a < b ? a : b;
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
  readonly to: { readonly at: number; readonly worker: WorkerRef } | undefined;
}

/** Decides for each run, and gives those that are handed out to the workers: to the one node that must have it, or in turn. */
function assign(runs: readonly QueuedRun[], homes: ReadonlyMap<string, string | null>, workers: readonly WorkerRef[]): Assignment[] {
  const decided = runs.map((queued) => ({ queued, decision: decide(queued) }));
  const leaving = decided.filter(({ decision }) => decision.kind === "handOut");
  const takers = matchTakers(
    leaving.map(({ queued }) => homes.get(queued.id) ?? null),
    workers.map(nodeOf),
  );
  return decided.map((one) => {
    const at = takers[leaving.indexOf(one)];
    const worker = at === undefined ? undefined : workers[at];
    return { ...one, to: at === undefined || worker === undefined ? undefined : { at, worker } };
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

async function act(core: Core, tx: Transaction, assignment: Assignment, sleep: SleepFacts, at: Date): Promise<HandedOut | undefined> {
  const { queued, decision, to } = assignment;
  if (decision.kind === "park") {
    advance(core, tx, queued, "park", { at, description: decision.reason });
    return undefined;
  }
  if (to === undefined) return undefined; // more were locked than asked for: they stay ready
  const isFirst = queued.first_dequeued_at === null;
  const checkpoint = queued.checkpoint_id === null ? undefined : sleep.checkpoints.get(queued.checkpoint_id);
  const run: RunRow = advance(core, tx, queued, "dequeue", {
    at,
    description: describe(checkpoint, to.worker),
    worker: to.worker,
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
  const message = wireMessage({
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
  return { to: to.at, message };
}

function describe(checkpoint: CheckpointRow | undefined, worker: WorkerRef): string {
  if (checkpoint === undefined) return "Handed to a node";
  if (checkpoint.node === null || checkpoint.node === nodeOf(worker)) return "Handed to a node, to be restored";
  return `Handed to another node, to be restored: ${nodeName(checkpoint.node)}, which has its memory image, is not heard of any more`;
}
