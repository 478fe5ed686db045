import { describe, expect, it } from "vitest";
import { body, task, usePlane, type Scene } from "./harness.ts";
import { must, type HeldRun, type Worker } from "./worker.ts";

const LOST_MS = 120_000;
const plane = usePlane();

const home = (): Worker => plane.worker("node-1");
const other = (): Worker => plane.worker("node-2");

/** A run whose wait is over and whose memory image is on node-1. */
async function woken(scene: Scene, location?: string): Promise<HeldRun> {
  const { held, tokenId } = await scene.asleep(location);
  await scene.completeToken(tokenId);
  await scene.untilState(held.runId, "QUEUED/PENDING");
  return held;
}

async function story(scene: Scene, runId: string): Promise<string> {
  return JSON.stringify(await scene.engine.timeline(scene.env, runId));
}

/** Whoever beats is there, whether it asks for runs or not. */
async function passWithBeats(node: Worker, ms: number): Promise<void> {
  for (let passedMs = 0; passedMs < ms; passedMs += 30_000) {
    await plane.clock.advance(30_000);
    await plane.engine.touchInstance(node.ref, {});
  }
}

describe("a run that sleeps on a node", () => {
  it("is woken by that node, though another has asked first and goes on asking", async () => {
    const scene = await plane.scene();
    const { held, tokenId } = await scene.asleep();
    const asking = other().wait();
    await scene.completeToken(tokenId);
    await scene.untilState(held.runId, "QUEUED/PENDING");
    const mine = await home().take();
    expect(mine.runId).toBe(held.runId);
    await mine.continue();
    const fresh = await scene.trigger();
    expect((await other().answered(asking)).map((message) => message.run.friendlyId)).toEqual([fresh]);
  });

  it("holds up no run behind it that others may start", async () => {
    const scene = await plane.scene();
    const sleeper = await woken(scene);
    const behind = await scene.trigger();
    expect((await other().take()).runId).toBe(behind);
    expect(await other().tryTake()).toBeUndefined();
    expect((await home().take()).runId).toBe(sleeper.runId);
  });

  it("keeps the limit of its queue, which another takes meanwhile", async () => {
    const scene = await plane.scene();
    const held = await scene.executing("solo");
    const tokenId = await scene.waitForNewToken(held);
    await held.suspend();
    await scene.completeToken(tokenId);
    await scene.untilState(held.runId, "QUEUED/PENDING");
    await scene.trigger("solo");
    const between = await other().take();
    await between.start();
    const asking = home().wait();
    expect(await scene.state(held.runId)).toBe("QUEUED/PENDING");
    await between.succeed();
    expect((await home().answered(asking)).map((message) => message.run.friendlyId)).toEqual([held.runId]);
  });

  it("goes in its order among those of its node, and each request of that node is one of them", async () => {
    const scene = await plane.scene();
    const first = await scene.asleep();
    await plane.clock.advance(1);
    const second = await scene.asleep();
    const theirs = [other().wait(), other().wait()];
    for (const { tokenId } of [second, first]) await scene.completeToken(tokenId);
    for (const { held } of [second, first]) await scene.untilState(held.runId, "QUEUED/PENDING");
    expect((await home().take()).runId).toBe(first.held.runId);
    const fresh = [await scene.trigger(), await scene.trigger()];
    const answers = await Promise.all(theirs.map((answer) => other().answered(answer)));
    expect(
      answers
        .flat()
        .map((message) => message.run.friendlyId)
        .toSorted(),
    ).toEqual(fresh.toSorted());
    expect((await home().take()).runId).toBe(second.held.runId);
  });

  it("is not hidden by many requests of another node", async () => {
    const scene = await plane.scene();
    const { held: sleeper, tokenId } = await scene.asleep();
    const stop = new AbortController();
    const crowd = Array.from({ length: 40 }, () => other().wait(3_600_000, stop.signal));
    const asking = home().wait();
    await scene.completeToken(tokenId);
    expect((await home().answered(asking)).map((message) => message.run.friendlyId)).toEqual([sleeper.runId]);
    stop.abort();
    expect((await Promise.all(crowd)).flat()).toEqual([]);
    expect(await home().tryTake()).toBeUndefined();
  });

  it("waits for its node as long as that is heard of, be it too full to ask for runs", async () => {
    const scene = await plane.scene();
    const sleeper = await woken(scene);
    await passWithBeats(home(), 10 * LOST_MS);
    expect(await other().tryTake()).toBeUndefined();
    expect((await home().take()).runId).toBe(sleeper.runId);
  });

  it("waits for no node when its memory is in a registry that all nodes reach", async () => {
    const scene = await plane.scene();
    const { held, tokenId } = await scene.waiting();
    await held.catchUp();
    const checkpoint = { type: "KUBERNETES" as const, location: "registry/run:1" };
    must(await plane.engine.completeSuspension(home().ref, held.runId, held.snapshotId, { success: true, checkpoint }), "accepted");
    await scene.completeToken(tokenId);
    await scene.untilState(held.runId, "QUEUED/PENDING");
    expect((await other().take()).runId).toBe(held.runId);
  });

  it("waits for no node of which nothing was ever heard", async () => {
    const scene = await plane.scene();
    const sleeper = await woken(scene);
    await plane.sql.query("delete from worker_instances where name = 'node-1'");
    expect((await other().take()).runId).toBe(sleeper.runId);
    await plane.engine.touchInstance(home().ref, {});
  });
});

describe("a node that is lost", () => {
  it("leaves its runs to whoever asks, from the moment on at which it counts as lost, and their timelines say so", async () => {
    const scene = await plane.scene();
    const sleeper = await woken(scene);
    await plane.engine.touchInstance(home().ref, {});
    const asking = other().wait();
    await plane.clock.advance(LOST_MS - 1_000);
    expect(await scene.state(sleeper.runId)).toBe("QUEUED/PENDING");
    await plane.clock.advance(1_000);
    expect((await other().answered(asking)).map((message) => message.run.friendlyId)).toEqual([sleeper.runId]);
    expect(await story(scene, sleeper.runId)).toContain("node-1, which has its memory image, is not heard of any more");
  });

  it("for good: the attempt starts over elsewhere, and the timeline says why", async () => {
    const scene = await plane.scene({ tasks: [task("work", { retry: { maxAttempts: 2 } })] });
    const sleeper = await woken(scene);
    await plane.clock.advance(LOST_MS);
    const taken = await other().take();
    expect(await taken.restoreOutcome("requeue", "memory_image_elsewhere")).toEqual({ kind: "noted" });
    const fresh = await other().take();
    expect(fresh.message.checkpoint).toBeUndefined();
    expect((await fresh.start()).run.attemptNumber).toBe(2);
    await fresh.succeed();
    expect(await scene.state(sleeper.runId)).toBe("FINISHED/COMPLETED_SUCCESSFULLY");
    expect(await story(scene, sleeper.runId)).toContain("node node-1, which has it, is not heard of any more");
  });

  it("for good, with no attempts left: the run fails with the reason", async () => {
    const scene = await plane.scene();
    const sleeper = await woken(scene);
    await plane.clock.advance(LOST_MS);
    const taken = await other().take();
    await taken.restoreOutcome("requeue", "memory_image_elsewhere");
    expect(await scene.state(sleeper.runId)).toBe("FINISHED/SYSTEM_FAILURE");
    expect(JSON.stringify((await scene.run(sleeper.runId)).error)).toContain("node node-1, which has it, is not heard of any more");
  });

  it("and is there again in time gets its runs back, and that costs none of their hand-outs, however often", async () => {
    const scene = await plane.scene();
    const sleeper = await woken(scene, "mem_mine");
    for (let round = 0; round < 15; round++) {
      await plane.clock.advance(LOST_MS);
      const taken = await other().take();
      await plane.engine.touchInstance(home().ref, {});
      await taken.restoreOutcome("requeue", "memory_image_elsewhere");
      expect(await other().tryTake()).toBeUndefined();
    }
    const mine = await home().take();
    expect(mine.message).toMatchObject({ run: { friendlyId: sleeper.runId }, checkpoint: { location: "mem_mine" } });
    await mine.continue();
  });
});

describe("a memory image", () => {
  it("that the very node which wrote it has no more is not looked for anywhere else: the attempt starts over", async () => {
    const scene = await plane.scene({ tasks: [task("work", { retry: { maxAttempts: 2 } })] });
    const sleeper = await woken(scene);
    const taken = await home().take();
    await taken.restoreOutcome("requeue", "memory_image_elsewhere");
    const fresh = await other().take();
    expect(fresh).toMatchObject({ runId: sleeper.runId });
    expect(fresh.message.checkpoint).toBeUndefined();
    expect(await story(scene, sleeper.runId)).toContain("node node-1, which wrote it, has it no more");
  });

  it("of which nobody noted where it lies is tried elsewhere, on the budget of hand-outs", async () => {
    const scene = await plane.scene();
    const { held, tokenId } = await scene.asleep();
    await plane.sql.query("update checkpoints set node = null where run_id = $1", [body(held.runId)]);
    await scene.completeToken(tokenId);
    await scene.untilState(held.runId, "QUEUED/PENDING");
    await (await other().take()).restoreOutcome("requeue", "memory_image_elsewhere");
    expect((await home().take()).runId).toBe(held.runId);
    const { rows } = await plane.sql.query("select nack_count from runs where id = $1", [body(held.runId)]);
    expect(rows).toEqual([{ nack_count: 1 }]);
  });
});
