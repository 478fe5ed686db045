import { describe, expect, it } from "vitest";
import { body, usePlane } from "./harness.ts";
import { must, type HeldRun } from "./worker.ts";

const plane = usePlane();

async function inOrderOfItems(held: readonly HeldRun[], batchId: string): Promise<(HeldRun | undefined)[]> {
  const { rows } = await plane.sql.query<{ run_id: string }>("select run_id from batch_items where batch_id = $1 order by index", [
    body(batchId),
  ]);
  return rows.map((row) => held.find((one) => body(one.runId) === row.run_id));
}

describe("putting a waiting run to sleep", () => {
  it("makes it SUSPENDED and WAITING_TO_RESUME, with the memory image's kind and reason readable (behaviour 46)", async () => {
    const scene = await plane.scene();
    const held = await scene.executing();
    const told = scene.listen(held.runId);
    await scene.waitForNewToken(held);
    await plane.until("the runner is told of the block", () => told.count() === 1);
    const outcome = must(await held.trySuspend("mem_1", "waits for a token"), "accepted");
    const { snapshot, checkpoint } = await held.latest();
    expect(snapshot.executionStatus).toBe("SUSPENDED");
    expect(await scene.state(held.runId)).toBe("SUSPENDED/WAITING_TO_RESUME");
    expect(checkpoint).toMatchObject({ friendlyId: outcome.checkpointId, type: "COMPUTE", location: "mem_1", reason: "waits for a token" });
    expect(await scene.queue()).toEqual({ running: 0, queued: 0 });
    await plane.timersHandled();
    expect(told.count()).toBe(1);
  });

  it("frees its slot, which it takes again only when it is handed out", async () => {
    const scene = await plane.scene();
    const sleeper = await scene.executing("solo");
    const tokenId = await scene.waitForNewToken(sleeper);
    await sleeper.suspend();
    const other = await scene.executing("solo");
    await scene.completeToken(tokenId);
    await scene.untilState(sleeper.runId, "QUEUED/PENDING");
    expect(await scene.worker.tryTake()).toBeUndefined();
    await other.succeed();
    await (await scene.untilTaken(sleeper.runId)).continue();
  });

  it("is undone when its waitpoint completes: it is handed out with the image, continues and ends well (behaviour 47)", async () => {
    const scene = await plane.scene();
    const { held, tokenId } = await scene.asleep("mem_2");
    await scene.completeToken(tokenId, '"answer"');
    const woken = await scene.untilTaken(held.runId);
    expect(woken.message).toMatchObject({
      snapshot: { executionStatus: "PENDING_EXECUTING" },
      run: { attemptNumber: 1 },
      checkpoint: { type: "COMPUTE", location: "mem_2" },
      completedWaitpoints: [{ friendlyId: tokenId, type: "MANUAL", output: '"answer"', outputIsError: false }],
    });
    expect((await woken.latest()).completedWaitpoints).toMatchObject([{ friendlyId: tokenId }]);
    const told = scene.listen(held.runId);
    const continued = await woken.continue();
    expect(continued).toMatchObject({ snapshot: { executionStatus: "EXECUTING" }, run: { status: "EXECUTING", attemptNumber: 1 } });
    expect((await woken.latest()).completedWaitpoints).toMatchObject([{ friendlyId: tokenId, output: '"answer"' }]);
    await plane.until("the runner is told", () => told.count() === 1);
    expect((await woken.succeed()).run.status).toBe("COMPLETED_SUCCESSFULLY");
  });

  it("is refused for any but the latest snapshot, leaves the run alone and keeps no image (behaviour 48)", async () => {
    const scene = await plane.scene();
    const held = await scene.executing();
    const stale = held.through(plane.worker("node-2"));
    await scene.waitForNewToken(held);
    const before = await held.latest();
    expect(await stale.trySuspend("mem_stale")).toMatchObject({ kind: "discarded", reason: expect.any(String) as string });
    expect(await held.latest()).toEqual(before);
    expect((await held.latest()).checkpoint).toBeUndefined();
    expect(await scene.engine.liveCheckpoints(scene.worker.ref, ["mem_stale"])).toEqual([]);
    must(await held.trySuspend("mem_fresh"), "accepted");
  });

  it("works several times in one run, each hand-out with the newest image (behaviour 49)", async () => {
    const scene = await plane.scene();
    let held = await scene.executing();
    const checkpointIds: string[] = [];
    for (const round of [1, 2, 3]) {
      const tokenId = await scene.waitForNewToken(held);
      checkpointIds.push(await held.suspend(`mem_round_${round}`, `reason ${round}`));
      await scene.completeToken(tokenId);
      held = await scene.untilTaken(held.runId);
      expect(held.message.checkpoint).toMatchObject({ location: `mem_round_${round}`, reason: `reason ${round}` });
      expect(held.message.completedWaitpoints).toMatchObject([{ friendlyId: tokenId }]);
      await held.continue();
    }
    await held.succeed();
    const endings = checkpointIds.map((id) => id.slice(-8));
    expect(new Set(endings).size).toBe(3);
  });

  it("is refused when the waitpoint completed first: the run goes on and can end (behaviour 50)", async () => {
    const scene = await plane.scene();
    const { held, tokenId } = await scene.waiting();
    await scene.completeToken(tokenId);
    await scene.untilState(held.runId, "EXECUTING/EXECUTING");
    expect(await held.trySuspend("mem_late")).toMatchObject({ kind: "discarded" });
    expect(await scene.state(held.runId)).toBe("EXECUTING/EXECUTING");
    expect(await scene.engine.liveCheckpoints(scene.worker.ref, ["mem_late"])).toEqual([]);
    await held.catchUp();
    await held.succeed();
  });

  it("is accepted for a run that waits for nothing; a second time it is refused and the first image stays (behaviour 51)", async () => {
    const scene = await plane.scene();
    const held = await scene.executing();
    must(await held.trySuspend("mem_first"), "accepted");
    await held.catchUp();
    expect(await held.trySuspend("mem_second")).toMatchObject({ kind: "discarded" });
    expect((await held.latest()).checkpoint).toMatchObject({ location: "mem_first" });
    expect(await scene.engine.liveCheckpoints(scene.worker.ref, ["mem_first", "mem_second"])).toEqual(["mem_first"]);
  });

  it("does not put a run to sleep for ever that waits for nothing", async () => {
    const scene = await plane.scene();
    const held = await scene.executing();
    must(await held.trySuspend("mem_idle"), "accepted");
    await plane.clock.advance(601_000);
    expect((await scene.untilTaken(held.runId)).message.checkpoint).toMatchObject({ location: "mem_idle" });
  });

  it("of two sides at once is accepted once, and the other's image is discarded", async () => {
    const scene = await plane.scene();
    const { held } = await scene.waiting();
    const rival = held.through(plane.worker("node-2"));
    const outcomes = await Promise.all([held.trySuspend("mem_a"), rival.trySuspend("mem_b")]);
    expect(outcomes.map((outcome) => outcome.kind).toSorted()).toEqual(["accepted", "discarded"]);
    const winner = outcomes[0]?.kind === "accepted" ? "mem_a" : "mem_b";
    expect((await held.latest()).checkpoint?.location).toBe(winner);
    expect(await scene.engine.liveCheckpoints(scene.worker.ref, ["mem_a", "mem_b"])).toEqual([winner]);
  });

  it("that failed at the node is only noted: the run keeps waiting where it is", async () => {
    const scene = await plane.scene();
    const { held, tokenId } = await scene.waiting();
    const before = await held.latest();
    expect(
      await scene.engine.completeSuspension(scene.worker.ref, held.runId, held.snapshotId, { success: false, error: "disk full" }),
    ).toEqual({ kind: "noted" });
    expect((await held.latest()).snapshot).toEqual(before.snapshot);
    await scene.completeToken(tokenId);
    await scene.untilState(held.runId, "EXECUTING/EXECUTING");
  });
});

describe("a parent that sleeps while its batch runs", () => {
  it("stays asleep after the first child, and is queued after the last with all waitpoints in the order of the items (behaviours 52 and 53)", async () => {
    const scene = await plane.scene();
    const parent = await scene.executing();
    const batch = must(
      await scene.engine.createBatch(scene.env, { runCount: 2, parentRunId: parent.runId, resumeParentOnCompletion: true }),
      "created",
    );
    for (const index of [0, 1]) {
      must(
        await scene.engine.addBatchItem(scene.env, batch.batchId, {
          index,
          task: "child",
          options: { payloadType: "application/json", parentRunId: parent.runId, resumeParentOnCompletion: true },
        }),
        "accepted",
      );
    }
    await scene.engine.sealBatch(scene.env, batch.batchId);
    await parent.suspend("mem_batch");
    const children = await scene.worker.takeAll();
    expect(children).toHaveLength(2);
    for (const child of children) await child.start();
    const byIndex = await inOrderOfItems(children, batch.batchId);
    // the later item ends first
    await byIndex[1]?.succeed('{"n":1}', "application/json");
    await plane.timersHandled();
    const between = await parent.latest();
    expect(between.snapshot.executionStatus).toBe("SUSPENDED");
    expect(between.completedWaitpoints).toEqual([]);
    expect(between.batch?.friendlyId).toBe(batch.batchId);
    await byIndex[0]?.succeed('{"n":0}', "application/json");
    await scene.untilState(parent.runId, "QUEUED/PENDING");
    const { completedWaitpoints } = await parent.latest();
    const runs = completedWaitpoints.filter((waitpoint) => waitpoint.type === "RUN");
    expect(runs).toMatchObject(
      [0, 1].map((index) => ({
        index,
        output: `{"n":${index}}`,
        outputType: "application/json",
        completedByTaskRun: { friendlyId: byIndex[index]?.runId, batch: { friendlyId: batch.batchId } },
      })),
    );
    const ofBatch = completedWaitpoints.filter((waitpoint) => waitpoint.type === "BATCH");
    expect(ofBatch).toHaveLength(1);
    expect(ofBatch[0]?.index).toBeUndefined();
    expect(ofBatch[0]?.completedByBatch?.friendlyId).toBe(batch.batchId);
    const woken = await scene.untilTaken(parent.runId);
    expect(woken.message.checkpoint?.location).toBe("mem_batch");
    expect(woken.message.completedWaitpoints).toHaveLength(3);
  });
});

describe("what images may still be restored", () => {
  it("is said for each of them, from the suspension to the continue", async () => {
    const scene = await plane.scene();
    const live = (): Promise<readonly string[]> => scene.engine.liveCheckpoints(scene.worker.ref, ["mem_x", "mem_unknown"]);
    const { held, tokenId } = await scene.asleep("mem_x");
    expect(await live()).toEqual(["mem_x"]);
    await scene.completeToken(tokenId);
    await scene.untilState(held.runId, "QUEUED/PENDING");
    expect(await live()).toEqual(["mem_x"]);
    const woken = await scene.untilTaken(held.runId);
    expect(await live()).toEqual(["mem_x"]);
    await woken.continue();
    expect(await live()).toEqual([]);
    await woken.succeed();
    expect(await live()).toEqual([]);
  });
});
