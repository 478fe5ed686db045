import { expect } from "vitest";
import type { Scene } from "./harness.ts";

// What must hold of a project's runs after every step, whatever happened. Read straight from the tables.

/** Where a run may go from each status; written from the protocol, not from the engine's own table. */
const NEXT: Readonly<Record<string, readonly string[]>> = {
  RUN_CREATED: ["QUEUED", "FINISHED"],
  DELAYED: ["QUEUED", "FINISHED"],
  QUEUED: ["PENDING_EXECUTING", "RUN_CREATED", "FINISHED"],
  PENDING_EXECUTING: ["EXECUTING", "QUEUED", "PENDING_CANCEL", "FINISHED"],
  EXECUTING: ["EXECUTING", "EXECUTING_WITH_WAITPOINTS", "SUSPENDED", "QUEUED", "PENDING_CANCEL", "FINISHED"],
  EXECUTING_WITH_WAITPOINTS: ["EXECUTING", "SUSPENDED", "QUEUED", "PENDING_CANCEL", "FINISHED"],
  SUSPENDED: ["QUEUED", "FINISHED"],
  PENDING_CANCEL: ["FINISHED"],
  FINISHED: [],
};

/** Which statuses of the run go with an execution status. */
const RUN_STATUSES: Readonly<Record<string, readonly string[]>> = {
  RUN_CREATED: ["PENDING", "PENDING_VERSION"],
  DELAYED: ["DELAYED"],
  QUEUED: ["PENDING"],
  PENDING_EXECUTING: ["DEQUEUED"],
  EXECUTING: ["EXECUTING", "RETRYING_AFTER_FAILURE"],
  EXECUTING_WITH_WAITPOINTS: ["EXECUTING"],
  SUSPENDED: ["WAITING_TO_RESUME"],
  PENDING_CANCEL: ["CANCELED"],
  FINISHED: ["CANCELED", "COMPLETED_SUCCESSFULLY", "COMPLETED_WITH_ERRORS", "SYSTEM_FAILURE", "CRASHED", "EXPIRED", "TIMED_OUT"],
};

const HOLDS_CONCURRENCY = new Set(["PENDING_EXECUTING", "EXECUTING", "EXECUTING_WITH_WAITPOINTS"]);

interface RunFacts {
  readonly id: string;
  readonly status: string;
  readonly execution_status: string;
  readonly snapshot_id: string;
  readonly queue_name: string;
  readonly concurrency_key: string;
  readonly is_ready: boolean;
  readonly has_slot: boolean;
  readonly edges: number;
  readonly pending_edges: number;
  readonly resumes_soon: boolean;
  readonly history: readonly string[];
  readonly snapshot_ids: readonly string[];
}

const FACTS = `
  select r.id, r.status, r.execution_status, r.snapshot_id, r.queue_name, r.concurrency_key,
    exists (select 1 from ready q where q.run_id = r.id) as is_ready,
    exists (select 1 from slots s where s.run_id = r.id) as has_slot,
    (select count(*)::int from edges e where e.run_id = r.id) as edges,
    (select count(*)::int from edges e join waitpoints w on w.id = e.waitpoint_id where e.run_id = r.id and w.status = 'PENDING') as pending_edges,
    exists (select 1 from timers t where t.kind = 'resume' and t.subject = r.id) as resumes_soon,
    (select array_agg(s.execution_status order by s.seq) from snapshots s where s.run_id = r.id) as history,
    (select array_agg(s.id order by s.seq) from snapshots s where s.run_id = r.id) as snapshot_ids
  from runs r where r.environment_id = $1`;

export interface Limits {
  readonly environment: number;
  /** Per queue and concurrency key; a queue that is not named has none. */
  readonly queues: Readonly<Record<string, number>>;
}

export class Invariants {
  readonly #scene: Scene;
  readonly #limits: Limits;
  readonly #ended = new Map<string, string>();

  constructor(scene: Scene, limits: Limits) {
    this.#scene = scene;
    this.#limits = limits;
  }

  /** Fails the test when something does not hold; answers the ids of the runs that have not ended. */
  async check(): Promise<readonly string[]> {
    const { rows } = await this.#scene.plane.sql.query<RunFacts>(FACTS, [this.#scene.env.id]);
    for (const run of rows) {
      checkHistory(run);
      checkPlaces(run);
      this.#checkEnd(run);
    }
    this.#checkLimits(rows);
    return rows.filter((run) => run.execution_status !== "FINISHED").map((run) => `run_${run.id}`);
  }

  /** What has ended stays as it ended. */
  #checkEnd(run: RunFacts): void {
    const before = this.#ended.get(run.id);
    if (before !== undefined) expect(run.status, `run_${run.id} had ended`).toBe(before);
    if (run.execution_status === "FINISHED") this.#ended.set(run.id, run.status);
  }

  #checkLimits(rows: readonly RunFacts[]): void {
    const running = rows.filter((run) => HOLDS_CONCURRENCY.has(run.execution_status));
    expect(running.length, "runs that hold the environment's concurrency").toBeLessThanOrEqual(this.#limits.environment);
    const lanes = new Map<string, number>();
    for (const run of running) {
      const lane = `${run.queue_name} ${run.concurrency_key}`;
      lanes.set(lane, (lanes.get(lane) ?? 0) + 1);
      expect(lanes.get(lane), `runs that hold the concurrency of ${lane}`).toBeLessThanOrEqual(
        this.#limits.queues[run.queue_name] ?? Number.POSITIVE_INFINITY,
      );
    }
  }
}

/** One latest snapshot; every step along the table; ids that sort in the order in which they were made. */
function checkHistory(run: RunFacts): void {
  const story = `run_${run.id}: ${run.history.join(" → ")}`;
  expect(run.snapshot_ids.at(-1), story).toBe(run.snapshot_id);
  expect(run.history.at(-1), story).toBe(run.execution_status);
  expect(run.snapshot_ids.toSorted(), story).toEqual(run.snapshot_ids);
  for (let at = 1; at < run.history.length; at++)
    expect(NEXT[run.history[at - 1] ?? ""], `step ${at} of ${story}`).toContain(run.history[at]);
  expect(RUN_STATUSES[run.execution_status], story).toContain(run.status);
}

/** Where a run stands beside its status: in a queue, on a slot, blocked. */
function checkPlaces(run: RunFacts): void {
  const story = `run_${run.id}: ${run.history.join(" → ")}`;
  expect(run.is_ready, `in the queue: ${story}`).toBe(run.execution_status === "QUEUED");
  expect(run.has_slot, `on a slot: ${story}`).toBe(HOLDS_CONCURRENCY.has(run.execution_status));
  if (run.execution_status === "EXECUTING_WITH_WAITPOINTS") {
    expect(run.pending_edges > 0 || run.resumes_soon, `blocked by nothing, and nobody will look (L9): ${story}`).toBe(true);
  } else if (run.execution_status === "SUSPENDED") {
    expect(run.pending_edges > 0 || run.resumes_soon || run.edges === 0, `asleep for nothing, and nobody will look (L9): ${story}`).toBe(
      true,
    );
  } else {
    expect(run.edges, `waits although it is not blocked: ${story}`).toBe(0);
  }
}
