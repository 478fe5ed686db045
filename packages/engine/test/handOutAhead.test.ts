import { describe, expect, it } from "vitest";
import { inMs, usePlane } from "./harness.ts";
import { must, type HeldRun } from "./worker.ts";

/** Long, so that what the tests themselves turn the clock by does not matter. */
const AHEAD_MS = 20_000;
const WAIT_MS = 60_000;

const plane = usePlane({ settings: { handOutAheadMs: AHEAD_MS } });

async function asleepUntil(date: Date): Promise<{ readonly scene: Awaited<ReturnType<typeof plane.scene>>; readonly held: HeldRun }> {
  const scene = await plane.scene();
  const held = await scene.executing();
  must(await scene.engine.waitUntil(scene.env, held.runId, { date }), "waiting");
  await held.suspend();
  return { scene, held };
}

/** Turns the clock to so long before `date`. */
async function until(date: Date, beforeMs: number): Promise<void> {
  await plane.clock.advance(date.getTime() - beforeMs - plane.clock.nowMs());
}

describe("a sleeping run that waits for a time", () => {
  it("is handed out a moment before it with what it waits for, and continues at that time, not before", async () => {
    const date = inMs(plane, WAIT_MS);
    const { scene, held } = await asleepUntil(date);
    await until(date, AHEAD_MS + 5_000);
    await plane.timersHandled();
    expect(await scene.worker.tryTake()).toBeUndefined();
    await until(date, AHEAD_MS);
    await scene.untilState(held.runId, "QUEUED/PENDING");
    const woken = await scene.worker.take();
    expect(woken.message.completedWaitpoints).toMatchObject([{ type: "DATETIME", completedAt: date, completedAfter: date }]);
    let continuedAtMs: number | undefined;
    const continuing = woken.continue().then(() => (continuedAtMs = plane.clock.nowMs()));
    await until(date, 1_000);
    await plane.timersHandled();
    expect(await scene.state(held.runId)).toBe("PENDING_EXECUTING/DEQUEUED");
    expect(continuedAtMs).toBeUndefined();
    await until(date, 0);
    await continuing;
    expect(continuedAtMs).toBe(date.getTime());
    await plane.timersHandled();
    expect((await woken.latest()).completedWaitpoints).toMatchObject([{ type: "DATETIME" }]);
    expect((await scene.history(held.runId)).filter((status) => status === "QUEUED")).toHaveLength(2);
    await woken.succeed();
  });

  it("is handed out at once when it fell asleep within that moment", async () => {
    const { scene, held } = await asleepUntil(inMs(plane, AHEAD_MS - 5_000));
    await scene.untilState(held.runId, "QUEUED/PENDING");
    expect((await scene.worker.take()).runId).toBe(held.runId);
  });

  it("or for a token whose time-out is known is not handed out ahead of that", async () => {
    const scene = await plane.scene();
    const held = await scene.executing();
    const date = inMs(plane, WAIT_MS);
    const { token } = must(await scene.engine.createToken(scene.env, { timeoutAt: date }), "created");
    must(await scene.engine.waitForToken(scene.env, held.runId, token.id), "waiting");
    await held.suspend();
    await until(date, 5_000);
    await plane.timersHandled();
    expect(await scene.state(held.runId)).toBe("SUSPENDED/WAITING_TO_RESUME");
    await until(date, 0);
    await scene.untilState(held.runId, "QUEUED/PENDING");
  });

  it("of which it shares the waitpoint with a run that is awake does not wake that one ahead", async () => {
    const scene = await plane.scene();
    const [sleeper, awake] = [await scene.executing(), await scene.executing()];
    const date = inMs(plane, WAIT_MS);
    for (const held of [sleeper, awake])
      must(await scene.engine.waitUntil(scene.env, held.runId, { date, idempotencyKey: "shared" }), "waiting");
    await sleeper.suspend();
    await until(date, 5_000);
    await scene.untilState(sleeper.runId, "QUEUED/PENDING");
    await plane.timersHandled();
    expect((await awake.latest()).snapshot.executionStatus).toBe("EXECUTING_WITH_WAITPOINTS");
    await until(date, 0);
    await plane.until("the other is resumed", async () => (await awake.latest()).snapshot.executionStatus === "EXECUTING");
  });
});
