import { sleep, systemClock } from "@torpor/kernel";
import { describe, expect, it } from "vitest";
import { body, task, usePlane } from "./harness.ts";
import { canceled, systemError, userError, type HeldRun } from "./worker.ts";

const ENVIRONMENT_LIMIT = 6;
const plane = usePlane({ settings: { environmentConcurrencyLimit: 3, environmentBurstFactor: 2 } });

describe("concurrency limits", () => {
  it("of the environment, times its burst factor, are never exceeded (behaviour 92)", async () => {
    const scene = await plane.scene();
    for (let index = 0; index < 10; index++) await scene.trigger();
    const taken = await scene.worker.takeAll();
    expect(taken).toHaveLength(ENVIRONMENT_LIMIT);
    await taken[0]?.start();
    await taken[0]?.succeed();
    expect(await scene.worker.takeAll()).toHaveLength(1);
  });

  it("of a queue are never exceeded, and a full queue holds up no other (behaviour 92, queue)", async () => {
    const scene = await plane.scene();
    for (let index = 0; index < 3; index++) await scene.trigger("solo");
    const behind = await scene.trigger("work");
    const taken = await scene.worker.takeAll();
    expect(taken).toHaveLength(2);
    expect(taken.map((held) => held.runId)).toContain(behind);
    expect(await scene.customQueue("single")).toMatchObject({ running: 1, queued: 2, concurrencyLimit: 1 });
  });

  it("are never exceeded when many nodes take and finish at once, through two processes", async () => {
    const scene = await plane.scene({
      tasks: [task("work"), task("solo", { queueName: "pair" })],
      queues: [{ name: "pair", concurrencyLimit: 2 }],
    });
    const second = await plane.anotherEngine();
    const RUNS = 40;
    for (let index = 0; index < RUNS; index++) await scene.trigger(index % 2 === 0 ? "work" : "solo");
    const running = { all: 0, pair: 0, mostAll: 0, mostPair: 0, done: 0 };
    const node = async (index: number): Promise<void> => {
      const worker = plane.worker(`node-${index}`, index % 2 === 0 ? plane.engine : second);
      while (running.done < RUNS) {
        const held = await worker.tryTake();
        if (held === undefined) continue;
        const isPair = (await held.start()).execution.queue.name === "pair";
        running.all++;
        if (isPair) running.pair++;
        running.mostAll = Math.max(running.mostAll, running.all);
        running.mostPair = Math.max(running.mostPair, running.pair);
        await sleep(systemClock, 5);
        running.all--;
        if (isPair) running.pair--;
        await held.succeed();
        running.done++;
      }
    };
    await Promise.all(Array.from({ length: 10 }, (_, index) => node(index)));
    expect(running.mostAll).toBeLessThanOrEqual(ENVIRONMENT_LIMIT);
    expect(running.mostPair).toBeLessThanOrEqual(2);
    expect(running.mostAll).toBeGreaterThan(2);
    await second.close();
  });

  it("hold back a run as long as another one is only handed out, not started", async () => {
    const scene = await plane.scene();
    await scene.trigger("solo");
    await scene.trigger("solo");
    expect(await scene.worker.takeAll()).toHaveLength(1);
  });

  it("of one environment do not touch another's", async () => {
    const scene = await plane.scene();
    const other = await plane.scene();
    for (let index = 0; index < 8; index++) await scene.trigger();
    expect(await scene.worker.takeAll()).toHaveLength(ENVIRONMENT_LIMIT);
    const elsewhere = await other.trigger();
    expect((await other.worker.take()).runId).toBe(elsewhere);
  });
});

describe("concurrency keys", () => {
  it("have the queue's limit each, and are served in turn (behaviour 93)", async () => {
    const scene = await plane.scene();
    const keyOf = new Map<string, string>();
    for (const key of ["a", "a", "a", "b", "b", "c"]) keyOf.set(await scene.trigger("solo", { concurrencyKey: key }), key);
    const first = await scene.worker.takeAll();
    expect(first.map((held) => keyOf.get(held.runId)).toSorted()).toEqual(["a", "b", "c"]);
    for (const held of first) {
      await held.start();
      await held.succeed();
    }
    const second = await scene.worker.takeAll();
    expect(second.map((held) => keyOf.get(held.runId)).toSorted()).toEqual(["a", "b"]);
  });

  it("take turns even when one of them has queued everything first", async () => {
    const scene = await plane.scene({ tasks: [task("work", { queueName: "wide" })], queues: [{ name: "wide", concurrencyLimit: 50 }] });
    const keyOf = new Map<string, string>();
    for (const key of ["a", "a", "a", "a", "b", "b"]) keyOf.set(await scene.trigger("work", { concurrencyKey: key }), key);
    const order: (string | undefined)[] = [];
    for (let index = 0; index < 4; index++) order.push(keyOf.get((await scene.worker.take()).runId));
    expect(order.filter((key) => key === "b")).toHaveLength(2);
  });

  it("and runs without a key take turns in one queue, whoever has the longer line", async () => {
    const scene = await plane.scene({ tasks: [task("work", { queueName: "wide" })], queues: [{ name: "wide", concurrencyLimit: 50 }] });
    const keyOf = new Map<string, string>();
    for (const key of ["", "", "", "", "b", "b", "a", "a"])
      keyOf.set(await scene.trigger("work", key === "" ? {} : { concurrencyKey: key }), key);
    const order: (string | undefined)[] = [];
    for (let index = 0; index < 6; index++) order.push(keyOf.get((await scene.worker.take()).runId));
    for (const key of ["", "a", "b"]) expect(order.filter((one) => one === key)).toHaveLength(2);
  });

  it("may be any text: '*', an empty one, quotes, a long one", async () => {
    const scene = await plane.scene();
    const keys = ["*", "'", '"', "%", "a:b", "é🦥", " ", "k".repeat(500)];
    let handedOut = 0;
    for (const concurrencyKey of keys) {
      await scene.trigger("solo", { concurrencyKey });
      await scene.trigger("solo", { concurrencyKey });
      for (const held of await scene.worker.takeAll()) {
        handedOut++;
        await held.start();
        await held.succeed();
      }
    }
    for (let held = await scene.worker.tryTake(); held !== undefined; held = await scene.worker.tryTake()) {
      handedOut++;
      await held.start();
      await held.succeed();
    }
    expect(handedOut).toBe(keys.length * 2);
    expect(await scene.customQueue("single")).toMatchObject({ running: 0, queued: 0 });
  });

  it("let a key that is full be passed over for one that is not", async () => {
    const scene = await plane.scene();
    await scene.trigger("solo", { concurrencyKey: "a" });
    await scene.worker.take();
    await scene.trigger("solo", { concurrencyKey: "a" });
    const other = await scene.trigger("solo", { concurrencyKey: "b" });
    expect((await scene.worker.take()).runId).toBe(other);
    expect(await scene.worker.tryTake()).toBeUndefined();
  });
});

describe("giving slots back", () => {
  it("happens at every end, and at a return to the queue (behaviour 94)", async () => {
    const scene = await plane.scene({ tasks: [task("work"), task("solo", { queueName: "single", retry: { maxAttempts: 3 } })] });
    const ends: readonly (readonly [string, (held: HeldRun) => Promise<unknown>])[] = [
      ["success", (held) => held.succeed()],
      ["failure", (held) => held.fail(userError("broken"))],
      ["crash", (held) => held.fail(systemError("TASK_RUN_CRASHED"))],
      ["retry later", (held) => held.fail(userError("again"), 3_600_000)],
      ["cancel", async (held) => (await scene.cancel(held.runId), await held.catchUp(), held.complete(canceled(held.runId)))],
      ["sleep", async (held) => (await scene.waitForNewToken(held), held.suspend())],
    ];
    for (const [name, end] of ends) {
      await end(await scene.executing("solo"));
      expect((await scene.customQueue("single")).running, name).toBe(0);
    }
    const returned = await scene.trigger("solo");
    const held = await scene.worker.take();
    await held.release();
    expect(await scene.customQueue("single")).toMatchObject({ running: 0 });
    expect((await scene.untilTaken(returned)).runId).toBe(returned);
  });

  it("puts a run that is returned again and again back later and later, and fails it in the end (behaviour 94, dead letter)", async () => {
    const scene = await plane.scene();
    const runId = await scene.trigger();
    const waitsMs: number[] = [];
    let returnedAtMs = plane.clock.nowMs();
    for (;;) {
      const held = await plane.until(
        "it is handed out again",
        async () => {
          const taken = await scene.worker.tryTake();
          if (taken === undefined) await plane.clock.advance(plane.clock.nowMs() - returnedAtMs < 10_000 ? 100 : 10_000);
          return taken;
        },
        { limitMs: 20_000 },
      );
      waitsMs.push(plane.clock.nowMs() - returnedAtMs);
      returnedAtMs = plane.clock.nowMs();
      const outcome = await held.release("node full");
      if (outcome.kind !== "released") throw new Error(`release was refused: ${outcome.message}`);
      if (!outcome.requeued) break;
    }
    expect(await scene.run(runId)).toMatchObject({ status: "SYSTEM_FAILURE", error: { code: "TASK_RUN_DEQUEUED_MAX_RETRIES" } });
    expect(waitsMs.length).toBeGreaterThanOrEqual(12);
    expect(waitsMs.length).toBeLessThanOrEqual(13);
    expect(waitsMs.at(-1) ?? 0).toBeGreaterThan(60_000);
  });

  it("is made up for when a run that has ended still holds one (behaviour 95)", async () => {
    const scene = await plane.scene();
    const held = await scene.executing("solo");
    await held.succeed();
    // What no code path should leave behind.
    await plane.sql.query("insert into slots (run_id, environment_id, queue_name, concurrency_key) values ($1, $2, 'single', '')", [
      body(held.runId),
      scene.env.id,
    ]);
    const waiting = await scene.trigger("solo");
    const next = await plane.until("the slot is free", async () => {
      await plane.clock.advance(30_000);
      return scene.worker.tryTake();
    });
    expect(next.runId).toBe(waiting);
  });
});

describe("sharing nodes", () => {
  it("serves environments in turn, the older run first inside each (behaviour 96)", async () => {
    const scene = await plane.scene();
    const other = await plane.scene();
    const mine: string[] = [];
    for (let index = 0; index < 6; index++) {
      mine.push(await scene.trigger());
      await plane.clock.advance(1);
    }
    const theirs: string[] = [];
    for (let index = 0; index < 6; index++) {
      theirs.push(await other.trigger());
      await plane.clock.advance(1);
    }
    const order = (await scene.worker.takeAll(6)).map((held) => held.runId);
    expect(order.filter((runId) => mine.includes(runId))).toEqual(mine.slice(0, 3));
    expect(order.filter((runId) => theirs.includes(runId))).toEqual(theirs.slice(0, 3));
  });
});
