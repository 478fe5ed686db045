import { describe, expect, it } from "vitest";
import { body, task, usePlane, type Scene } from "./harness.ts";
import { success, type HeldRun } from "./worker.ts";

const plane = usePlane();

const START_LIMIT_MS = 60_000;
const SILENCE_LIMIT_MS = 300_000;

/** Two attempts, so that one stall can be survived. */
async function twoAttempts(): Promise<Scene> {
  return plane.scene({ tasks: [task("work", { retry: { maxAttempts: 2 } }), task("child")] });
}

async function silentUntilQueued(scene: Scene, held: HeldRun): Promise<void> {
  await plane.clock.advance(SILENCE_LIMIT_MS + 1_000);
  await scene.untilState(held.runId, "QUEUED/PENDING");
}

describe("a run that is taken but never started", () => {
  it("is queued again after a minute and can then be started (behaviour 39)", async () => {
    const scene = await plane.scene();
    const runId = await scene.trigger();
    const held = await scene.worker.take();
    await plane.clock.advance(START_LIMIT_MS - 2_000);
    await plane.timersHandled();
    expect(await scene.state(runId)).toBe("PENDING_EXECUTING/DEQUEUED");
    await plane.clock.advance(3_000);
    await scene.untilState(runId, "QUEUED/PENDING");
    expect((await scene.engine.counts()).executing).toBe(0);
    const again = await scene.untilTaken(runId);
    expect(await held.tryStart()).toMatchObject({ kind: "refused", code: "snapshot_stale" });
    expect((await again.start()).run.attemptNumber).toBe(1);
    await again.succeed();
  });

  it("fails as SYSTEM_FAILURE when that has happened too often (behaviour 40)", async () => {
    const scene = await plane.scene();
    const runId = await scene.trigger();
    let handOuts = 0;
    await plane.until(
      "it has been given up",
      async () => {
        if ((await scene.worker.tryTake()) !== undefined) handOuts++;
        await plane.clock.advance(START_LIMIT_MS + 1_000);
        return (await scene.run(runId)).status === "SYSTEM_FAILURE";
      },
      { limitMs: 15_000 },
    );
    expect(handOuts).toBeGreaterThanOrEqual(12);
    expect(handOuts).toBeLessThanOrEqual(13);
    const run = await scene.run(runId);
    expect(run.error).toMatchObject({ type: "INTERNAL_ERROR", code: "TASK_RUN_DEQUEUED_MAX_RETRIES" });
    expect(run.executionStatus).toBe("FINISHED");
  });

  it("keeps its memory image, its waitpoints and its batch when it was to be restored", async () => {
    const scene = await plane.scene();
    const { held, tokenId, checkpointId } = await scene.asleep("mem_kept");
    await scene.completeToken(tokenId, '"answer"');
    await scene.untilTaken(held.runId);
    await plane.clock.advance(START_LIMIT_MS + 1_000);
    await scene.untilState(held.runId, "QUEUED/PENDING");
    const again = await scene.untilTaken(held.runId);
    expect(again.message.checkpoint).toMatchObject({ location: "mem_kept" });
    expect(checkpointId).toContain(again.message.checkpoint?.id ?? "none");
    expect(again.message.completedWaitpoints).toMatchObject([{ friendlyId: tokenId, output: '"answer"' }]);
    expect(await again.continue()).toMatchObject({ snapshot: { executionStatus: "EXECUTING" }, run: { attemptNumber: 1 } });
    expect((await again.latest()).completedWaitpoints).toMatchObject([{ friendlyId: tokenId }]);
  });
});

describe("an executing run of which nothing is heard", () => {
  it("is queued for its next attempt, and fails as SYSTEM_FAILURE when its attempts are used up (behaviour 41)", async () => {
    const scene = await twoAttempts();
    const held = await scene.executing();
    await silentUntilQueued(scene, held);
    expect((await scene.engine.counts()).executing).toBe(0);
    expect(await held.tryComplete(success(held.runId, "too late"))).toMatchObject({ kind: "refused", code: "snapshot_mismatch" });
    const again = await scene.untilTaken(held.runId);
    expect((await again.start()).run.attemptNumber).toBe(2);
    await plane.clock.advance(SILENCE_LIMIT_MS + 1_000);
    await scene.untilState(held.runId, "FINISHED/SYSTEM_FAILURE");
    expect((await scene.run(held.runId)).error).toMatchObject({ code: "TASK_RUN_STALLED_EXECUTING" });
  });

  it("fails at once when it has one attempt", async () => {
    const scene = await plane.scene();
    const held = await scene.executing();
    await plane.clock.advance(SILENCE_LIMIT_MS + 1_000);
    await scene.untilState(held.runId, "FINISHED/SYSTEM_FAILURE");
    expect(await held.tryComplete({ ok: true, id: held.runId, outputType: "text/plain" })).toMatchObject({ kind: "refused" });
  });

  it("stays EXECUTING as long as heartbeats come, and is queued when they stop (behaviour 42)", async () => {
    const scene = await twoAttempts();
    const held = await scene.executing();
    for (let minutes = 0; minutes < 15; minutes += 4) {
      await plane.clock.advance(4 * 60_000);
      await held.heartbeat();
    }
    await plane.timersHandled();
    expect(await scene.state(held.runId)).toBe("EXECUTING/EXECUTING");
    await silentUntilQueued(scene, held);
  });

  it("is not kept alive by heartbeats for an older snapshot, which are acknowledged all the same", async () => {
    const scene = await twoAttempts();
    const held = await scene.executing();
    const stale = held.through(plane.worker("node-2"));
    await scene.waitForNewToken(held);
    await plane.clock.advance(200_000);
    await stale.heartbeat();
    await plane.clock.advance(101_000);
    await scene.untilState(held.runId, "QUEUED/PENDING");
  });

  it("has its blocks removed: the new attempt begins with none (a stall while it waited)", async () => {
    const scene = await twoAttempts();
    const { held, tokenId } = await scene.waiting();
    await plane.clock.advance(SILENCE_LIMIT_MS + 1_000);
    await scene.untilState(held.runId, "QUEUED/PENDING");
    const again = await scene.untilTaken(held.runId);
    expect(again.message.completedWaitpoints).toEqual([]);
    expect((await again.start()).run.attemptNumber).toBe(2);
    await scene.completeToken(tokenId);
    await plane.timersHandled();
    expect((await again.latest()).snapshot.friendlyId).toBe(again.snapshotId);
    await again.succeed();
  });

  it("names the wait as what it was silent in when its attempts are used up", async () => {
    const scene = await plane.scene();
    const { held } = await scene.waiting();
    await plane.clock.advance(SILENCE_LIMIT_MS + 1_000);
    await scene.untilState(held.runId, "FINISHED/SYSTEM_FAILURE");
    expect((await scene.run(held.runId)).error).toMatchObject({ code: "TASK_RUN_STALLED_EXECUTING_WITH_WAITPOINTS" });
  });

  it("wakes the parent that waits for it with an error", async () => {
    const scene = await plane.scene();
    const parent = await scene.executing();
    const childId = await scene.triggerAndWait(parent);
    await scene.worker.takeAndStart();
    for (let round = 0; round < 2; round++) {
      await plane.clock.advance(160_000);
      await parent.catchUp();
      await parent.heartbeat();
    }
    await scene.untilState(childId, "FINISHED/SYSTEM_FAILURE");
    await scene.untilState(parent.runId, "EXECUTING/EXECUTING");
    expect((await parent.catchUp()).completedWaitpoints).toMatchObject([{ outputIsError: true }]);
  });

  it("is cancelled, not failed, in development", async () => {
    const scene = await plane.scene();
    const env = scene.environment("DEVELOPMENT");
    await scene.deploy({}, env);
    const runId = await scene.trigger("work", {}, env);
    await scene.worker.takeAndStart();
    await plane.clock.advance(SILENCE_LIMIT_MS + 1_000);
    await plane.until("it has ended", async () => (await scene.engine.getRun(env, runId))?.status === "CANCELED");
  });
});

describe("a cancelled run whose runner never confirms", () => {
  it("is ended after a minute (behaviour 43)", async () => {
    const scene = await plane.scene();
    const held = await scene.executing();
    await scene.cancel(held.runId);
    await plane.timersHandled();
    expect(await scene.state(held.runId)).toBe("PENDING_CANCEL/CANCELED");
    await plane.clock.advance(61_000);
    await scene.untilState(held.runId, "FINISHED/CANCELED");
  });
});

describe("a sleeping run", () => {
  it("that waits for a token never times out into anything (behaviour 44)", async () => {
    const scene = await plane.scene();
    const { held, tokenId } = await scene.asleep();
    const { snapshot } = await held.latest();
    plane.clock.jumpWall(30 * 24 * 3_600_000);
    await plane.clock.advance(60_000);
    await plane.timersHandled();
    expect((await held.latest()).snapshot.friendlyId).toBe(snapshot.friendlyId);
    expect(await scene.worker.tryTake()).toBeUndefined();
    await scene.completeToken(tokenId);
    expect((await scene.untilTaken(held.runId)).message.checkpoint).toBeDefined();
  });

  it("whose reason to wait is gone is found by the timeout and queued (behaviour 45)", async () => {
    const scene = await plane.scene();
    const parent = await scene.executing();
    await scene.triggerAndWait(parent);
    await parent.suspend();
    // What a lost wake-up would look like: nothing blocks the run any more, and nobody has said so.
    await plane.sql.query("delete from edges where run_id = $1", [body(parent.runId)]);
    await plane.timersHandled();
    expect(await scene.state(parent.runId)).toBe("SUSPENDED/WAITING_TO_RESUME");
    await plane.clock.advance(601_000);
    await scene.untilState(parent.runId, "QUEUED/PENDING");
  });

  it("whose last waitpoint is complete without its knowing is found by the timeout, with that waitpoint", async () => {
    const scene = await plane.scene();
    const parent = await scene.executing();
    const childId = await scene.triggerAndWait(parent);
    await parent.suspend();
    await plane.sql.query("update waitpoints set status = 'COMPLETED', completed_at = $2 where by_run_id = $1", [
      body(childId),
      new Date(plane.clock.nowMs()),
    ]);
    await plane.clock.advance(601_000);
    await scene.untilState(parent.runId, "QUEUED/PENDING");
    expect((await parent.catchUp()).completedWaitpoints).toMatchObject([{ type: "RUN", completedByTaskRun: { friendlyId: childId } }]);
  });

  it("is looked at again and again while it waits for another run", async () => {
    const scene = await plane.scene();
    const parent = await scene.executing();
    await scene.triggerAndWait(parent, "child", { delayUntil: new Date(plane.clock.nowMs() + 24 * 3_600_000) });
    await parent.suspend();
    await plane.clock.advance(601_000);
    await plane.timersHandled();
    expect(await scene.state(parent.runId)).toBe("SUSPENDED/WAITING_TO_RESUME");
    await plane.sql.query("delete from edges where run_id = $1", [body(parent.runId)]);
    await plane.clock.advance(61_000);
    await scene.untilState(parent.runId, "QUEUED/PENDING");
  });
});
