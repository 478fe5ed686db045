import { describe, expect, it } from "vitest";
import { addItem, batchOf, batchStatus } from "./batchScene.ts";
import { body, task, usePlane, type Scene } from "./harness.ts";
import { both, race } from "./race.ts";
import { failure, must, userError, type HeldRun } from "./worker.ts";

const ROUNDS = 40;
const plane = usePlane({ settings: { environmentConcurrencyLimit: 500 } });

async function parents(scene: Scene): Promise<HeldRun[]> {
  await Promise.all(Array.from({ length: ROUNDS }, () => scene.trigger("work")));
  const taken = await scene.worker.takeAll();
  await Promise.all(taken.map((held) => held.start()));
  return taken;
}

async function edges(held: HeldRun): Promise<number> {
  const { rows } = await plane.sql.query<{ count: string }>("select count(*) from edges where run_id = $1", [body(held.runId)]);
  return Number(rows[0]?.count);
}

/** Children are handed out by the oldest score: to keep races apart they wait until the end. */
async function finishChildren(scene: Scene): Promise<void> {
  for (const child of await scene.worker.takeAll()) {
    await child.start();
    await child.succeed();
  }
}

/** Lets an item of a batch come as far as its last statement, where it waits, its edge written and not committed, until `meanwhile` is over. */
async function stalledItem(scene: Scene, batchId: string, parent: HeldRun, meanwhile: () => Promise<void>): Promise<void> {
  const holder = await plane.sql.connect();
  try {
    await holder.query("select pg_advisory_lock(7)");
    await holder.query(
      "create function wait_here() returns trigger language plpgsql as $$ begin perform pg_advisory_xact_lock_shared(7); return new; end $$",
    );
    await holder.query("create trigger wait_here before update on batch_items for each row execute function wait_here()");
    const added = addItem(scene, batchId, 0, { parent });
    await plane.until("the item is nearly there", async () => (await waiting()) === 1);
    await meanwhile();
    await holder.query("select pg_advisory_unlock(7)");
    must(await added, "accepted");
  } finally {
    await holder.query("drop function wait_here cascade");
    holder.release();
  }
}

/** Transactions that wait for others. */
async function waiting(): Promise<number> {
  const { rows } = await plane.sql.query<{ count: string }>(
    "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
  );
  return Number(rows[0]?.count);
}

describe("an item of a batch that is nearly there when its parent no longer waits", () => {
  it.each([
    ["fails and is tried again", (parent: HeldRun) => parent.tryComplete(failure(parent.runId, userError("gave up"), 0))],
    ["is cancelled", (parent: HeldRun, scene: Scene) => scene.cancel(parent.runId)],
  ] as const)("leaves nothing to wait for behind, when the parent %s", async (_what, end) => {
    const scene = await plane.scene({ tasks: [task("work", { retry: { maxAttempts: 3 } }), task("child")] });
    const parent = await scene.executing();
    const batchId = await batchOf(scene, 2, parent);
    await parent.catchUp();
    let ended: Promise<unknown> = Promise.resolve();
    await stalledItem(scene, batchId, parent, async () => {
      ended = end(parent, scene);
      await plane.until("the parent's end waits for the item", async () => (await waiting()) === 2);
    });
    await ended;
    expect(await edges(parent)).toBe(0);
  });
});

describe("in a race over a batch", () => {
  it("between an item that arrives and a parent whose attempt fails, the next attempt waits for nothing", async () => {
    const scene = await plane.scene({ tasks: [task("work", { retry: { maxAttempts: 3 } }), task("child")] });
    await race(await parents(scene), async (parent, round) => {
      const batchId = await batchOf(scene, 2, parent);
      await parent.catchUp();
      await both(
        round,
        () => addItem(scene, batchId, 0, { parent }),
        () => parent.tryComplete(failure(parent.runId, userError("gave up"), 0)),
      );
      expect(await edges(parent)).toBe(0);
      await parent.start();
    });
    await finishChildren(scene);
    await plane.clock.advance(1_000);
    await plane.timersHandled();
  });

  it("between the last item and the seal, the batch ends when its runs do, and its parent resumes once", async () => {
    const scene = await plane.scene();
    const batches = new Map<string, string>();
    const runs = await parents(scene);
    await race(runs, async (parent, round) => {
      const batchId = await batchOf(scene, 2, parent);
      batches.set(parent.runId, batchId);
      must(await addItem(scene, batchId, 0, { parent }), "accepted");
      const [last, seal] = await both(
        round,
        () => addItem(scene, batchId, 1, { parent }),
        () => scene.engine.sealBatch(scene.env, batchId),
      );
      expect(last.kind).toBe("accepted");
      // What the SDK does when not all had arrived: it sends everything again.
      if (seal.kind !== "counted" || !seal.sealed)
        expect(await scene.engine.sealBatch(scene.env, batchId)).toMatchObject({ sealed: true, itemCount: 2 });
    });
    await finishChildren(scene);
    for (const parent of runs) {
      await scene.untilState(parent.runId, "EXECUTING/EXECUTING");
      expect(await batchStatus(scene, batches.get(parent.runId) ?? "")).toBe("COMPLETED");
      expect((await scene.history(parent.runId)).slice(3)).toEqual(["EXECUTING_WITH_WAITPOINTS", "EXECUTING"]);
    }
  });

  it("between the last child's end and the seal, the parent resumes", async () => {
    const scene = await plane.scene();
    const parent = await scene.executing();
    for (let round = 0; round < 20; round++) {
      const batchId = await batchOf(scene, 1, parent);
      must(await addItem(scene, batchId, 0, { parent }), "accepted");
      const child = await scene.worker.takeAndStart();
      await both(
        round,
        () => child.succeed(),
        () => scene.engine.sealBatch(scene.env, batchId),
      );
      expect((await scene.untilResumed(parent)).map((waitpoint) => waitpoint.type).toSorted()).toEqual(["BATCH", "RUN"]);
    }
  });
});
