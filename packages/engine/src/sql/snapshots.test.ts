import { Secret } from "@torpor/kernel";
import { silentLog } from "@torpor/observe";
import { freshDatabase, type FreshDatabase } from "@torpor/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createEngine, type Engine, type EnvironmentRef, type WorkerRef } from "../index.ts";
import { consequences } from "../domain/consequences.ts";
import { Database, sql } from "./database.ts";
import { lockRun, type RunRow } from "./runs.ts";
import { appendSnapshot, type Append } from "./snapshots.ts";

const FOOTPRINT = sql(
  "test_footprint",
  `select (select count(*)::int from snapshots where run_id = $1) as snapshots, (select count(*)::int from ready where run_id = $1) as ready,
     (select count(*)::int from slots where run_id = $1) as slots, (select count(*)::int from timers where subject = $1) as timers`,
);
const INDEXED = sql(
  "test_indexed",
  `select distinct a.attname::text as name from pg_index i join pg_attribute a on a.attrelid = i.indrelid and (a.attnum = any (i.indkey) or pg_get_expr(i.indpred, i.indrelid) like '%' || a.attname || '%')
   where i.indrelid = 'runs'::regclass order by 1`,
);

describe("the one writer of execution statuses", () => {
  let fresh: FreshDatabase;
  let db: Database;
  let engine: Engine;
  let env: EnvironmentRef;
  let worker: WorkerRef;

  beforeAll(async () => {
    fresh = await freshDatabase();
    db = new Database({ connectionString: fresh.connectionString, poolSize: 2, log: silentLog });
    engine = createEngine({
      connectionString: fresh.connectionString,
      settings: { encryptionKey: new Secret("ab".repeat(32)), poolSize: 4 },
    });
    await engine.start();
    const production = (await engine.ensureProject({ ref: "proj" })).environments.find(({ type }) => type === "PRODUCTION");
    if (production === undefined) throw new Error("Cannot test without an environment");
    env = production;
    worker = { workerGroupId: (await engine.ensureWorkerGroup({ name: "g", token: "t" })).id, instanceName: "n" };
    await engine.deploy(env, {
      imageReference: "i",
      contentHash: "h",
      runtime: "node",
      sdkVersion: "4",
      cliVersion: "4",
      tasks: [{ id: "work", filePath: "a.ts" }],
      queues: [],
    });
  });
  afterAll(async () => {
    await engine.close();
    await db.close();
    await fresh.close();
  });

  async function queued(): Promise<string> {
    const outcome = await engine.trigger(env, "work", { payloadType: "application/json" });
    if (outcome.kind !== "triggered") throw new Error(outcome.message);
    return outcome.runId.replace("run_", "");
  }

  it("fails the whole transaction when the snapshot that it believes in is not the latest, even if nobody waits for it (S1)", async () => {
    const runId = await queued();
    const work = db.transaction(async (tx) => {
      const run = await lockRun(tx, runId);
      if (run === undefined) throw new Error("Cannot find the run");
      appendSnapshot(tx, finish(run, "000000stale"));
    });
    await expect(work).rejects.toThrow(/division by zero/);
    expect(await db.query(FOOTPRINT, [runId])).toEqual([{ snapshots: 1, ready: 1, slots: 0, timers: 0 }]);
  });

  it("takes the run out of the queue, frees its slot and disarms its timers as its status says", async () => {
    const runId = await queued();
    const [message] = await engine.dequeue(worker, { waitMs: 0, signal: new AbortController().signal });
    const held = message?.run.id ?? "";
    expect(await db.query(FOOTPRINT, [held])).toEqual([{ snapshots: 2, ready: 0, slots: 1, timers: 1 }]);
    await engine.cancelRun(env, held, "test");
    expect((await db.query<{ slots: number }>(FOOTPRINT, [held]))[0]?.slots).toBe(0);
    await engine.cancelRun(env, runId, "test");
    expect((await db.query<{ ready: number }>(FOOTPRINT, [runId]))[0]?.ready).toBe(0);
  });

  it("updates no indexed column of a run, so that its versions stay in one page", async () => {
    const indexed = (await db.query<{ name: string }>(INDEXED, [])).map((row) => row.name);
    expect(indexed).toEqual(["batch_id", "environment_id", "id", "parent_run_id", "request_key"]);
  });

  it("stores errors that jsonb would refuse: NUL and lone surrogates", async () => {
    await queued();
    const [message] = await engine.dequeue(worker, { waitMs: 0, signal: new AbortController().signal });
    if (message === undefined) throw new Error("Cannot dequeue");
    const id = message.run.friendlyId;
    const started = await engine.startAttempt(worker, id, message.snapshot.friendlyId, { isWarmStart: false });
    if (started.kind !== "started") throw new Error(started.message);
    const error = { type: "STRING_ERROR" as const, raw: "a\0b \ud800" };
    const outcome = await engine.completeAttempt(
      worker,
      id,
      started.result.snapshot.friendlyId,
      { ok: false, id, error },
      { forceRequeue: false },
    );
    expect(outcome.kind).toBe("completed");
    expect((await engine.getRun(env, id))?.error).toEqual(error);
  });
});

function finish(run: RunRow, expected: string): Append {
  return {
    runId: run.id,
    expected,
    id: "000001next",
    seq: run.snapshot_seq + 1,
    at: new Date(),
    executionStatus: "FINISHED",
    runStatus: "CANCELED",
    shownStatus: "CANCELED",
    description: "test",
    attemptNumber: 0,
    checkpointId: null,
    completedSeq: null,
    batchOfWait: null,
    worker: null,
    patch: {},
    consequences: consequences(run.execution_status, "FINISHED"),
    bringsWaitpoints: false,
    stallDueAt: undefined,
    score: new Date(),
    notify: false,
  };
}
