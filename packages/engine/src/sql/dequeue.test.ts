import { Secret, systemClock } from "@torpor/kernel";
import { silentLog } from "@torpor/observe";
import { freshDatabase, type FreshDatabase } from "@torpor/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createEngine, type Engine, type EngineSettingsInput, type EnvironmentRef, type WorkerRef } from "../index.ts";
import { Database, sql } from "./database.ts";
import { pickReady } from "./dequeue.ts";

const HELD = sql("test_held", "select queue_name || '/' || concurrency_key as lane, count(*)::int as n from slots group by 1");
/**
 * Counts how many slots are held, at every hand-out and whenever one is given back: two hand-outs at the same moment do not see each
 * other, but whoever comes next sees both.
 */
const WATCH = [
  "create table seen (deed text, lane text, held_in_lane integer, held integer)",
  `create function watch() returns trigger language plpgsql as $$
   declare one slots := case when tg_op = 'INSERT' then new else old end; own integer := case when tg_op = 'INSERT' then 0 else 1 end;
   begin
     insert into seen select tg_op, one.queue_name || '/' || one.concurrency_key,
       own + (select count(*) from slots s where s.queue_name = one.queue_name and s.concurrency_key = one.concurrency_key),
       own + (select count(*) from slots);
     return null; end $$`,
  "create trigger watch after insert or delete on slots for each row execute function watch()",
];
const SEEN = sql(
  "test_seen",
  "select coalesce(max(held_in_lane) filter (where lane like 'narrow/%'), 0) as lane, max(held) as everything, count(*) filter (where deed = 'INSERT')::int as hand_outs from seen",
);

const TAKE = sql(
  "test_take",
  "with r as (delete from ready where run_id = $1 returning *) insert into slots (run_id, environment_id, queue_name, concurrency_key) select run_id, environment_id, queue_name, concurrency_key from r",
);
const WAITING = sql(
  "test_waiting",
  "select exists (select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock') as waits",
);
const UNDO = sql("test_undo", "delete from slots");

/** One database, several engines on it, as several processes would be. */
class Processes {
  readonly engines: Engine[] = [];
  readonly #fresh: FreshDatabase;
  readonly db: Database;
  env!: EnvironmentRef;
  worker!: WorkerRef;

  constructor(fresh: FreshDatabase) {
    this.#fresh = fresh;
    this.db = new Database({ connectionString: fresh.connectionString, poolSize: 4, log: silentLog });
  }

  static async start(count: number, settings: Partial<EngineSettingsInput> = {}): Promise<Processes> {
    const processes = new Processes(await freshDatabase());
    for (let n = 0; n < count; n++) {
      const engine = createEngine({
        connectionString: processes.#fresh.connectionString,
        settings: { encryptionKey: new Secret("ab".repeat(32)), poolSize: 6, ...settings },
      });
      await engine.start();
      processes.engines.push(engine);
    }
    await processes.#prepare();
    return processes;
  }

  async #prepare(): Promise<void> {
    const engine = this.engine(0);
    const env = (await engine.ensureProject({ ref: "proj" })).environments.find(({ type }) => type === "PRODUCTION");
    if (env === undefined) throw new Error("Cannot test without an environment");
    this.env = env;
    this.worker = { workerGroupId: (await engine.ensureWorkerGroup({ name: "g", token: "t" })).id, instanceName: "n" };
    const deployment = { imageReference: "i", contentHash: "h", runtime: "node", sdkVersion: "4", cliVersion: "4" };
    const tasks = [
      { id: "free", filePath: "a.ts" },
      { id: "narrow", filePath: "a.ts", queueName: "narrow" },
    ];
    await engine.deploy(env, { ...deployment, tasks, queues: [{ name: "narrow", concurrencyLimit: 3 }] });
  }

  engine(n: number): Engine {
    const engine = this.engines[n % this.engines.length];
    if (engine === undefined) throw new Error("Cannot find an engine");
    return engine;
  }

  async trigger(n: number, task: string, concurrencyKey?: string): Promise<string> {
    const outcome = await this.engine(n).trigger(this.env, task, {
      payloadType: "application/json",
      ...(concurrencyKey === undefined ? {} : { concurrencyKey }),
    });
    if (outcome.kind !== "triggered") throw new Error(outcome.message);
    return outcome.runId;
  }

  /** Takes runs with several workers at each process, starts and completes them, until `count` were taken; answers which. */
  async drain(workers: number, count: number): Promise<string[]> {
    const taken: string[] = [];
    const done = new AbortController();
    await Promise.all(Array.from({ length: workers }, (_, n) => this.#work(this.engine(n), taken, count, done)));
    return taken;
  }

  async #work(engine: Engine, taken: string[], count: number, done: AbortController): Promise<void> {
    while (!done.signal.aborted) {
      const [message] = await engine.dequeue(this.worker, { waitMs: 15_000, signal: done.signal });
      if (message === undefined) return;
      const id = message.run.friendlyId;
      taken.push(id);
      if (taken.length >= count) done.abort();
      const started = await engine.startAttempt(this.worker, id, message.snapshot.friendlyId, { isWarmStart: false });
      if (started.kind !== "started") throw new Error(started.message);
      await engine.completeAttempt(
        this.worker,
        id,
        started.result.snapshot.friendlyId,
        { ok: true, id, outputType: "text/plain" },
        { forceRequeue: false },
      );
    }
  }

  /** Whether a transaction waits for another one. */
  async isAnybodyWaiting(): Promise<boolean> {
    return (await this.db.query<{ waits: boolean }>(WAITING, []))[0]?.waits === true;
  }

  async close(): Promise<void> {
    await Promise.all(this.engines.map((engine) => engine.close()));
    await this.db.close();
    await this.#fresh.close();
  }
}

describe("hand-outs by several processes at once", () => {
  let processes: Processes;
  beforeAll(async () => {
    processes = await Processes.start(3, { environmentConcurrencyLimit: 5, environmentBurstFactor: 1 });
  });
  afterAll(() => processes.close());

  it("give each run to one worker and never go above the limit of a queue, a key or the environment", async () => {
    for (const [n, text] of WATCH.entries()) await processes.db.query(sql(`test_watch_${n}`, text), []);
    const keys = [undefined, "a", "b", "c"];
    const triggered = await Promise.all(
      Array.from({ length: 120 }, (_, n) =>
        processes.trigger(n, n % 2 === 0 ? "narrow" : "free", n % 2 === 0 ? keys[(n / 2) % 4] : undefined),
      ),
    );
    const taken = await processes.drain(12, 120);
    expect(taken.length).toBe(new Set(taken).size);
    expect(taken.sort()).toEqual(triggered.sort());
    const seen = (await processes.db.query<{ lane: number; everything: number; hand_outs: number }>(SEEN, []))[0];
    expect(seen?.hand_outs).toBe(120);
    expect(seen?.lane).toBeLessThanOrEqual(3);
    expect(seen?.everything).toBeLessThanOrEqual(5);
    expect(await processes.db.query(HELD, [])).toEqual([]);
  });

  it("count what is held only when the one before has taken what it chose (D1)", async () => {
    const runIds = [await processes.trigger(0, "free"), await processes.trigger(0, "free")];
    const options = { now: new Date(), asking: new Map([["g/n", 2]]), limit: 1, burst: 1, nodeLostAfterMs: 120_000 };
    const [first, second] = await processes.db.transaction(async (tx) => {
      const pick = await pickReady(tx, options);
      for (const { runId } of pick.runs) tx.send(TAKE, [runId]);
      const progress = { isOver: false };
      const next = processes.db.transaction((other) => pickReady(other, options)).finally(() => (progress.isOver = true));
      while (!progress.isOver && !(await processes.isAnybodyWaiting()));
      return [pick, { next }];
    });
    expect(first.runs).toHaveLength(1);
    expect((await second.next).runs).toEqual([]);
    await processes.db.query(UNDO, []);
    for (const runId of runIds) await processes.engine(0).cancelRun(processes.env, runId, "end of the test");
  });

  it("wake a worker that waits at another process as soon as a run is triggered", async () => {
    const waiting = processes.engine(1).dequeue(processes.worker, { waitMs: 20_000, signal: new AbortController().signal });
    await systemTurn();
    const at = systemClock.monotonicMs();
    const runId = await processes.trigger(0, "free");
    const [message] = await waiting;
    expect(message?.run.friendlyId).toBe(runId);
    expect(systemClock.monotonicMs() - at).toBeLessThan(5_000);
  });

  it("wake a worker that waits at another process as soon as room is made", async () => {
    const [first, second] = processes.engines;
    if (first === undefined || second === undefined) throw new Error("Cannot find two engines");
    await Promise.all(Array.from({ length: 4 }, (_, n) => processes.trigger(n, "narrow", "room")));
    const held = await Promise.all(
      [1, 2, 3].map(() => first.dequeue(processes.worker, { waitMs: 5_000, signal: new AbortController().signal })),
    );
    const waiting = second.dequeue(processes.worker, { waitMs: 20_000, signal: new AbortController().signal });
    await systemTurn();
    const message = held[0]?.[0];
    if (message === undefined) throw new Error("Cannot hold a run");
    const at = systemClock.monotonicMs();
    const id = message.run.friendlyId;
    const started = await first.startAttempt(processes.worker, id, message.snapshot.friendlyId, { isWarmStart: false });
    if (started.kind !== "started") throw new Error(started.message);
    await first.completeAttempt(
      processes.worker,
      id,
      started.result.snapshot.friendlyId,
      { ok: true, id, outputType: "text/plain" },
      { forceRequeue: false },
    );
    expect((await waiting).length).toBe(1);
    expect(systemClock.monotonicMs() - at).toBeLessThan(5_000);
  });
});

/** Lets a call that was begun reach its waiting place. */
function systemTurn(): Promise<void> {
  return new Promise((resolve) => systemClock.after(100, resolve));
}
