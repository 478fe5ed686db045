import { describe, expect, it } from "vitest";
import { inMs, task, usePlane } from "./harness.ts";
import { userError } from "./worker.ts";

const plane = usePlane();

describe("time to live", () => {
  it("ends a run as EXPIRED that was queued longer, and takes it out of the queue (behaviour 33)", async () => {
    const scene = await plane.scene();
    await scene.executing("solo");
    const runId = await scene.trigger("solo", { ttlSeconds: 10 });
    const immortal = await scene.trigger("solo");
    await plane.clock.advance(9_000);
    await plane.timersHandled();
    expect(await scene.state(runId)).toBe("QUEUED/PENDING");
    await plane.clock.advance(2_000);
    await scene.untilState(runId, "FINISHED/EXPIRED");
    expect((await scene.run(runId)).expiredAt).not.toBeNull();
    expect((await scene.run(runId)).error).not.toBeNull();
    await plane.clock.advance(200_000);
    await plane.timersHandled();
    expect(await scene.state(immortal)).toBe("QUEUED/PENDING");
    expect((await scene.engine.counts()).executing).toBe(1);
  });

  it("of the task counts for runs that name none", async () => {
    const scene = await plane.scene({ tasks: [task("work", { ttlSeconds: 5 })] });
    const runId = await scene.trigger();
    await plane.clock.advance(6_000);
    await scene.untilState(runId, "FINISHED/EXPIRED");
  });

  it("is over for a run that was handed out: it does not expire when it is queued again (behaviour 34)", async () => {
    const scene = await plane.scene();
    const givenBack = await scene.trigger("work", { ttlSeconds: 10 });
    await (await scene.worker.take()).release();
    const held = await scene.executing("flaky", { ttlSeconds: 10 });
    await held.fail(userError("once"), 60_000);
    const sleeper = await scene.trigger("child", { ttlSeconds: 10 });
    const sleeping = await plane.until("the sleeper is handed out", async () => {
      const one = await scene.worker.tryTake();
      return one?.runId === sleeper ? one : (await one?.release(), undefined);
    });
    await sleeping.start();
    const tokenId = await scene.waitForNewToken(sleeping);
    await sleeping.suspend();
    await scene.completeToken(tokenId);
    await scene.untilState(sleeper, "QUEUED/PENDING");
    await plane.clock.advance(20_000);
    await plane.timersHandled();
    for (const runId of [givenBack, held.runId, sleeper]) expect(await scene.state(runId)).toBe("QUEUED/PENDING");
  });

  it("that is over does not block the runs behind it (behaviour 35)", async () => {
    const scene = await plane.scene();
    const holder = await scene.executing("solo");
    await scene.trigger("solo", { ttlSeconds: 10 });
    const behind = await scene.trigger("solo");
    await plane.clock.advance(11_000);
    await holder.succeed();
    expect((await plane.until("the one behind is handed out", () => scene.worker.tryTake())).runId).toBe(behind);
  });

  it("ends several runs at the same time and passes over those that a node has (behaviour 36)", async () => {
    const scene = await plane.scene();
    const taken = await scene.trigger("work", { ttlSeconds: 10 });
    await scene.worker.take();
    const executing = await scene.executing("child", { ttlSeconds: 10 });
    const waiting = [];
    for (let index = 0; index < 12; index++) waiting.push(await scene.trigger("work", { ttlSeconds: 10 }));
    await plane.clock.advance(11_000);
    for (const runId of waiting) await scene.untilState(runId, "FINISHED/EXPIRED");
    expect(await scene.state(taken)).toBe("PENDING_EXECUTING/DEQUEUED");
    expect(await scene.state(executing.runId)).toBe("EXECUTING/EXECUTING");
    expect((await scene.engine.counts()).queued).toBe(0);
  });

  it("that ends a child wakes its parent with an error (behaviour 37)", async () => {
    const scene = await plane.scene();
    const parent = await scene.executing();
    const childId = await scene.triggerAndWait(parent, "child", { ttlSeconds: 10 });
    await plane.clock.advance(11_000);
    await scene.untilState(childId, "FINISHED/EXPIRED");
    await scene.untilState(parent.runId, "EXECUTING/EXECUTING");
    expect((await parent.catchUp()).completedWaitpoints).toMatchObject([
      { type: "RUN", outputIsError: true, completedByTaskRun: { friendlyId: childId } },
    ]);
  });

  it("ends a run or hands it out, never both, when both come at once", async () => {
    const scene = await plane.scene();
    for (let round = 0; round < 25; round++) {
      const runId = await scene.trigger("work", { ttlSeconds: 1 });
      const [held] = await Promise.all([scene.worker.tryTake(), plane.clock.advance(1_000)]);
      await plane.timersHandled();
      const state = await scene.state(runId);
      expect(state).toBe(held === undefined ? "FINISHED/EXPIRED" : "PENDING_EXECUTING/DEQUEUED");
      await scene.cancel(runId);
    }
  });

  it("is ten minutes in development for runs that name none", async () => {
    const scene = await plane.scene();
    const env = scene.environment("DEVELOPMENT");
    await scene.deploy({}, env);
    const runId = await scene.trigger("work", {}, env);
    await plane.clock.advance(599_000);
    await plane.timersHandled();
    expect((await scene.engine.getRun(env, runId))?.status).toBe("PENDING");
    await plane.clock.advance(2_000);
    await plane.until("it has expired", async () => (await scene.engine.getRun(env, runId))?.status === "EXPIRED");
  });
});

describe("a run that falls silent after its time to live was over", () => {
  it.each([[undefined], ["customer-1"]])(
    "is queued and handed out again, neither expired nor lost, with concurrency key %s (behaviour 38)",
    async (concurrencyKey) => {
      const scene = await plane.scene();
      const runId = await scene.trigger("work", { ttlSeconds: 10, ...(concurrencyKey === undefined ? {} : { concurrencyKey }) });
      await scene.worker.take();
      await plane.clock.advance(61_000);
      await scene.untilState(runId, "QUEUED/PENDING");
      await plane.timersHandled();
      expect(await scene.state(runId)).toBe("QUEUED/PENDING");
      const again = await scene.untilTaken(runId);
      await again.start();
      await again.succeed();
    },
  );

  it("keeps its delay's meaning: a run delayed and then taken does not expire either", async () => {
    const scene = await plane.scene();
    const runId = await scene.trigger("work", { ttlSeconds: 10, delayUntil: inMs(plane, 1_000) });
    await plane.clock.advance(1_000);
    await scene.untilTaken(runId);
    await plane.clock.advance(61_000);
    await scene.untilState(runId, "QUEUED/PENDING");
  });
});
