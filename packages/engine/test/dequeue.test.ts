import { describe, expect, it } from "vitest";
import { usePlane } from "./harness.ts";
import { success } from "./worker.ts";

const plane = usePlane();

describe("handing runs out", () => {
  it("hands out five of ten queued runs to five requests (behaviour 24)", async () => {
    const scene = await plane.scene();
    const queued = await Promise.all(Array.from({ length: 10 }, () => scene.trigger()));
    const taken = await scene.worker.takeAll(5);
    expect(new Set(taken.map((held) => held.runId)).size).toBe(5);
    expect(taken.every((held) => queued.includes(held.runId))).toBe(true);
    expect(await scene.queue()).toEqual({ running: 5, queued: 5 });
  });

  it("hands out a run that was given back again, its concurrency free in between (behaviour 25)", async () => {
    const scene = await plane.scene();
    const runId = await scene.trigger("solo");
    const held = await scene.worker.take();
    expect(await held.release("node full")).toEqual({ kind: "released", requeued: true });
    expect((await scene.engine.counts()).executing).toBe(0);
    const again = await scene.untilTaken(runId);
    expect(again.snapshotId > held.snapshotId).toBe(true);
    expect((await again.start()).run.attemptNumber).toBe(1);
  });

  it("never hands the same run to two nodes", async () => {
    const scene = await plane.scene();
    const queued = await Promise.all(Array.from({ length: 60 }, () => scene.trigger()));
    const second = await plane.anotherEngine();
    const nodes = Array.from({ length: 20 }, (_, index) => plane.worker(`node-${index}`, index % 2 === 0 ? plane.engine : second));
    const taken = (await Promise.all(nodes.map((node) => node.takeAll()))).flat();
    expect(taken.map((held) => held.runId).toSorted()).toEqual(queued.toSorted());
    await second.close();
  });

  it("names everything that a node needs to place and start the run", async () => {
    const scene = await plane.scene();
    const deployment = await scene.deploy({ imageReference: "sha256:beef" });
    await scene.trigger();
    const { message } = await scene.worker.take();
    expect(message).toMatchObject({
      version: "1",
      image: "sha256:beef",
      snapshot: { executionStatus: "PENDING_EXECUTING" },
      completedWaitpoints: [],
      backgroundWorker: { version: deployment.version },
      deployment: { friendlyId: deployment.id },
      run: { isTest: false, isReplay: false, attemptNumber: 1, machine: { name: "small-1x", cpu: 0.5, memory: 0.5 } },
      environment: { type: "PRODUCTION" },
    });
    expect(message.checkpoint).toBeUndefined();
  });

  it("hands out nothing when nothing is queued", async () => {
    const scene = await plane.scene();
    expect(await scene.worker.tryTake()).toBeUndefined();
  });
});

describe("a node that waits for a run", () => {
  it("is answered as soon as one is triggered, through another process too", async () => {
    const scene = await plane.scene();
    const second = await plane.anotherEngine();
    const node = plane.worker("node-2", second);
    const answer = node.wait();
    const runId = await scene.trigger();
    expect((await scene.worker.answered(answer)).map((message) => message.run.friendlyId)).toEqual([runId]);
    await second.close();
  });

  it("is answered when a full queue gets room", async () => {
    const scene = await plane.scene();
    const first = await scene.executing("solo");
    const second = await scene.trigger("solo");
    const answer = scene.worker.wait();
    await first.succeed();
    expect((await scene.worker.answered(answer)).map((message) => message.run.friendlyId)).toEqual([second]);
  });

  it("is answered when a run that was put back comes due", async () => {
    const scene = await plane.scene();
    const answer = scene.worker.wait();
    const runId = await scene.trigger("work", { priority: -30 });
    await plane.clock.advance(31_000);
    expect((await scene.worker.answered(answer)).map((message) => message.run.friendlyId)).toEqual([runId]);
  });

  it("is answered with nothing when its time is over", async () => {
    const scene = await plane.scene();
    const answer = scene.worker.wait(10_000);
    expect(await scene.worker.answered(answer, 1_000)).toEqual([]);
  });

  it("takes no run with it when it goes away", async () => {
    const scene = await plane.scene();
    const gone = new AbortController();
    const answer = scene.worker.wait(3_600_000, gone.signal);
    gone.abort();
    expect(await scene.worker.answered(answer)).toEqual([]);
    const runId = await scene.trigger();
    expect((await scene.worker.take()).runId).toBe(runId);
  });

  it("loses no run when many wait and many are triggered", async () => {
    const scene = await plane.scene();
    const stop = new AbortController();
    const taken: string[] = [];
    const nodes = Array.from({ length: 8 }, async (_, index) => {
      const node = plane.worker(`node-${index}`);
      while (!stop.signal.aborted) {
        for (const message of await node.wait(3_600_000, stop.signal)) taken.push(message.run.friendlyId);
      }
    });
    const queued = (
      await Promise.all(Array.from({ length: 4 }, async () => Promise.all(Array.from({ length: 15 }, () => scene.trigger()))))
    ).flat();
    await plane.until("all are taken", () => taken.length >= queued.length);
    stop.abort();
    await Promise.all(nodes);
    expect(taken.toSorted()).toEqual(queued.toSorted());
  });
});

describe("giving a run back", () => {
  it("is refused once the run was started, without effect", async () => {
    const scene = await plane.scene();
    const held = await scene.executing();
    const outcome = await held.release();
    expect(outcome.kind).toBe("refused");
    expect(await scene.state(held.runId)).toBe("EXECUTING/EXECUTING");
  });

  it("twice is refused the second time, so that it is not counted twice", async () => {
    const scene = await plane.scene();
    const runId = await scene.trigger();
    const held = await scene.worker.take();
    await held.release();
    const again = await scene.untilTaken(runId);
    expect((await held.release()).kind).toBe("refused");
    expect((await scene.snapshot(runId)).snapshot.friendlyId).toBe(again.snapshotId);
  });

  it("leaves the one who gave it back no start, though the run is handed out again and not begun", async () => {
    const scene = await plane.scene();
    const runId = await scene.trigger();
    const held = await scene.worker.take();
    await held.release();
    const again = await scene.untilTaken(runId);
    expect(await held.tryStart()).toMatchObject({ kind: "refused", code: "snapshot_stale" });
    expect((await again.start()).run.attemptNumber).toBe(1);
  });

  it("is refused when the run was taken from the node meanwhile", async () => {
    const scene = await plane.scene();
    const runId = await scene.trigger();
    const held = await scene.worker.take();
    await held.release();
    const again = await scene.untilTaken(runId);
    await again.start();
    expect((await held.release()).kind).toBe("refused");
    expect(await held.tryStart()).toMatchObject({ kind: "refused", code: "snapshot_stale" });
    expect(await held.tryComplete(success(runId, "stale"))).toMatchObject({ kind: "refused", code: "snapshot_mismatch" });
    expect(await scene.state(runId)).toBe("EXECUTING/EXECUTING");
  });
});
