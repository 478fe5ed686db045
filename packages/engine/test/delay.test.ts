import { describe, expect, it } from "vitest";
import { inMs, usePlane } from "./harness.ts";

const plane = usePlane();

describe("a delayed run", () => {
  it("is DELAYED until it is due and QUEUED from then on (behaviour 20)", async () => {
    const scene = await plane.scene();
    const runId = await scene.trigger("work", { delayUntil: inMs(plane, 60_000) });
    expect(await scene.state(runId)).toBe("DELAYED/DELAYED");
    await plane.clock.advance(59_000);
    await plane.timersHandled();
    expect(await scene.state(runId)).toBe("DELAYED/DELAYED");
    expect(await scene.worker.tryTake()).toBeUndefined();
    await plane.clock.advance(1_000);
    await scene.untilState(runId, "QUEUED/PENDING");
    expect((await scene.worker.take()).runId).toBe(runId);
  });

  it("is queued at once when its date has passed already", async () => {
    const scene = await plane.scene();
    const runId = await scene.trigger("work", { delayUntil: inMs(plane, -60_000) });
    await scene.untilState(runId, "QUEUED/PENDING");
  });

  it("that is rescheduled is still DELAYED after its first due time (behaviour 21)", async () => {
    const scene = await plane.scene();
    const runId = await scene.trigger("work", { delayUntil: inMs(plane, 60_000) });
    expect(await scene.engine.rescheduleRun(scene.env, runId, inMs(plane, 120_000))).toEqual({ kind: "rescheduled" });
    await plane.clock.advance(61_000);
    await plane.timersHandled();
    expect(await scene.state(runId)).toBe("DELAYED/DELAYED");
    await plane.clock.advance(60_000);
    await scene.untilState(runId, "QUEUED/PENDING");
  });

  it("can be rescheduled to an earlier time", async () => {
    const scene = await plane.scene();
    const runId = await scene.trigger("work", { delayUntil: inMs(plane, 120_000) });
    await scene.engine.rescheduleRun(scene.env, runId, inMs(plane, 10_000));
    await plane.clock.advance(11_000);
    await scene.untilState(runId, "QUEUED/PENDING");
  });

  it("is queued once, however its due time and a rescheduling meet (behaviour 21, race)", async () => {
    const scene = await plane.scene();
    for (let round = 0; round < 30; round++) {
      const runId = await scene.trigger("work", { delayUntil: inMs(plane, 1_000) });
      const [outcome] = await Promise.all([scene.engine.rescheduleRun(scene.env, runId, inMs(plane, 60_000)), plane.clock.advance(1_000)]);
      if (outcome.kind === "rescheduled") {
        await plane.timersHandled();
        expect(await scene.state(runId)).toBe("DELAYED/DELAYED");
        await scene.cancel(runId);
      } else {
        await scene.untilState(runId, "QUEUED/PENDING");
        expect(await scene.history(runId)).toEqual(["DELAYED", "QUEUED"]);
        await scene.cancel(runId);
      }
    }
  });

  it("cannot be rescheduled any more once it is queued", async () => {
    const scene = await plane.scene();
    const runId = await scene.trigger();
    expect(await scene.engine.rescheduleRun(scene.env, runId, inMs(plane, 60_000))).toMatchObject({ kind: "refused" });
    expect(await scene.state(runId)).toBe("QUEUED/PENDING");
  });

  it("has its time to live counted from the enqueue, not from the trigger (behaviour 22)", async () => {
    const scene = await plane.scene();
    const runId = await scene.trigger("work", { delayUntil: inMs(plane, 60_000), ttlSeconds: 10 });
    await plane.clock.advance(60_000);
    await scene.untilState(runId, "QUEUED/PENDING");
    await plane.clock.advance(5_000);
    await plane.timersHandled();
    expect(await scene.state(runId)).toBe("QUEUED/PENDING");
    await plane.clock.advance(6_000);
    await scene.untilState(runId, "FINISHED/EXPIRED");
  });

  it("that is cancelled is final and never handed out later (behaviour 23)", async () => {
    const scene = await plane.scene();
    const runId = await scene.trigger("work", { delayUntil: inMs(plane, 60_000) });
    await scene.cancel(runId);
    expect(await scene.state(runId)).toBe("FINISHED/CANCELED");
    await plane.clock.advance(61_000);
    await plane.timersHandled();
    expect(await scene.state(runId)).toBe("FINISHED/CANCELED");
    expect(await scene.worker.tryTake()).toBeUndefined();
  });
});
