import { systemClock } from "@torpor/kernel";
import { describe, expect, it } from "vitest";
import { inMs, usePlaneWith } from "./harness.ts";
import { must } from "./worker.ts";

// The only file that measures: under the real clock, alone on its database.

const plane = usePlaneWith(systemClock);

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

describe("how late the engine is", () => {
  it("resumes a run that waits for a date within 200 ms of it, and within 50 ms in the median (behaviour 65)", async () => {
    const scene = await plane.scene();
    const latenessMs: number[] = [];
    for (let round = 0; round < 9; round++) {
      const held = await scene.executing();
      const date = inMs(plane, 60 + round * 7);
      const resumed = new Promise<number>((resolve) => {
        let count = 0;
        // the first notification tells of the block, the second of the resume
        scene.engine.onRunChanged((runId) => runId === held.runId && ++count === 2 && resolve(Date.now()));
      });
      must(await scene.engine.waitUntil(scene.env, held.runId, { date }), "waiting");
      latenessMs.push((await resumed) - date.getTime());
      expect((await held.catchUp()).snapshot.executionStatus).toBe("EXECUTING");
      await held.succeed();
    }
    expect(Math.min(...latenessMs)).toBeGreaterThanOrEqual(0);
    expect(median(latenessMs)).toBeLessThan(50);
    expect(Math.max(...latenessMs)).toBeLessThan(200);
  });

  it("hands a sleeping run out within half a second of the end of its wait (behaviour 47, time)", async () => {
    const scene = await plane.scene();
    const { held, tokenId } = await scene.asleep();
    const answer = scene.worker.wait(10_000);
    const completedAtMs = performance.now();
    await scene.completeToken(tokenId);
    expect((await answer).map((message) => message.run.friendlyId)).toEqual([held.runId]);
    expect(performance.now() - completedAtMs).toBeLessThan(500);
  });

  it("answers a waiting node within 100 ms of a trigger in the median", async () => {
    const scene = await plane.scene();
    const tookMs: number[] = [];
    for (let round = 0; round < 9; round++) {
      const answer = scene.worker.wait(10_000);
      const triggeredAtMs = performance.now();
      await scene.trigger();
      await answer;
      tookMs.push(performance.now() - triggeredAtMs);
    }
    expect(median(tookMs)).toBeLessThan(100);
  });

  it("queues a delayed run on time", async () => {
    const scene = await plane.scene();
    const date = inMs(plane, 80);
    const answer = scene.worker.wait(10_000);
    await scene.trigger("work", { delayUntil: date });
    expect(await answer).toHaveLength(1);
    expect(Date.now() - date.getTime()).toBeGreaterThanOrEqual(0);
    expect(Date.now() - date.getTime()).toBeLessThan(200);
  });
});
