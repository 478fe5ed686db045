import { describe, expect, it } from "vitest";
import { usePlane } from "./harness.ts";

const plane = usePlane();

describe("a queue's settings", () => {
  it("pause it, and let it go on", async () => {
    const scene = await plane.scene();
    const { id } = await scene.customQueue("single");
    expect(await scene.engine.updateQueue(scene.env, id, { paused: true })).toMatchObject({ paused: true });
    const runId = await scene.trigger("solo");
    const other = await scene.trigger("work");
    expect((await scene.worker.takeAll()).map((held) => held.runId)).toEqual([other]);
    await scene.engine.updateQueue(scene.env, id, { paused: false });
    expect((await scene.untilTaken(runId)).runId).toBe(runId);
  });

  it("override its limit, and take the deployed one back", async () => {
    const scene = await plane.scene();
    const { id } = await scene.customQueue("single");
    await scene.engine.updateQueue(scene.env, id, { concurrencyLimit: 2 });
    for (let index = 0; index < 3; index++) await scene.trigger("solo");
    expect(await scene.worker.takeAll()).toHaveLength(2);
    await scene.deploy();
    expect(await scene.customQueue("single")).toMatchObject({ concurrencyLimit: 2 });
    await scene.engine.updateQueue(scene.env, id, { concurrencyLimit: "default" });
    expect(await scene.customQueue("single")).toMatchObject({ concurrencyLimit: 1 });
  });

  it("of another environment cannot be changed", async () => {
    const scene = await plane.scene();
    const other = await plane.scene();
    expect(await other.engine.updateQueue(other.env, (await scene.customQueue("single")).id, { paused: true })).toBeNull();
    expect((await scene.customQueue("single")).paused).toBe(false);
  });

  it("wake a waiting node when they make room", async () => {
    const scene = await plane.scene();
    const { id } = await scene.customQueue("single");
    await scene.engine.updateQueue(scene.env, id, { paused: true });
    const runId = await scene.trigger("solo");
    const answer = scene.worker.wait();
    await scene.engine.updateQueue(scene.env, id, { paused: false });
    expect((await scene.worker.answered(answer)).map((message) => message.run.friendlyId)).toEqual([runId]);
  });
});
