import { describe, expect, it } from "vitest";
import { usePlane } from "./harness.ts";

const plane = usePlane();

describe("the order in a queue", () => {
  it("is that of the enqueue times", async () => {
    const scene = await plane.scene();
    const queued: string[] = [];
    for (let index = 0; index < 5; index++) {
      queued.push(await scene.trigger());
      await plane.clock.advance(1);
    }
    expect((await scene.worker.takeAll()).map((held) => held.runId)).toEqual(queued);
  });

  it("is that of enqueue time minus priority seconds, ties by time (behaviour 26)", async () => {
    const scene = await plane.scene();
    const plain = await scene.trigger();
    await plane.clock.advance(1_000);
    const later = await scene.trigger();
    await plane.clock.advance(1_000);
    const urgent = await scene.trigger("work", { priority: 10 });
    // its place is exactly that of the first
    const asOldAsFirst = await scene.trigger("work", { priority: 2 });
    const taken = (await scene.worker.takeAll()).map((held) => held.runId);
    expect(taken).toEqual([urgent, plain, asOldAsFirst, later]);
  });

  it("puts a run with a negative priority back: it is not handed out before its shifted time, although the queue is free (behaviour 27)", async () => {
    const scene = await plane.scene();
    const patient = await scene.trigger("work", { priority: -60 });
    expect(await scene.worker.tryTake()).toBeUndefined();
    await plane.clock.advance(59_000);
    const plain = await scene.trigger();
    expect((await scene.worker.take()).runId).toBe(plain);
    expect(await scene.worker.tryTake()).toBeUndefined();
    await plane.clock.advance(1_500);
    expect((await scene.untilTaken(patient)).runId).toBe(patient);
  });

  it("lets a woken run keep its place before runs that were queued after it (behaviour 28)", async () => {
    const scene = await plane.scene();
    const { held, tokenId } = await scene.asleep();
    await plane.clock.advance(1_000);
    const newer = [await scene.trigger(), await scene.trigger("work", { priority: 0 })];
    await plane.clock.advance(1_000);
    await scene.completeToken(tokenId);
    await scene.untilState(held.runId, "QUEUED/PENDING");
    const taken = (await scene.worker.takeAll()).map((one) => one.runId);
    expect(taken[0]).toBe(held.runId);
    expect(taken.slice(1).toSorted()).toEqual(newer.toSorted());
  });

  it("lets a woken run keep its priority", async () => {
    const scene = await plane.scene();
    const urgent = await scene.executing("work", { priority: 100 });
    const tokenId = await scene.waitForNewToken(urgent);
    await urgent.suspend();
    await plane.clock.advance(10_000);
    await scene.trigger("work", { priority: 50 });
    await scene.completeToken(tokenId);
    await scene.untilState(urgent.runId, "QUEUED/PENDING");
    expect((await scene.worker.take()).runId).toBe(urgent.runId);
  });
});
