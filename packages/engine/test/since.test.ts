import { describe, expect, it } from "vitest";
import { usePlane } from "./harness.ts";
import { must, userError } from "./worker.ts";

const plane = usePlane();

describe("the snapshots after one that a runner knows", () => {
  it("are none after the latest, and all in order after an older one (behaviour 77)", async () => {
    const scene = await plane.scene();
    const runId = await scene.trigger();
    const first = (await scene.snapshot(runId)).snapshot.friendlyId;
    const held = await scene.worker.takeAndStart();
    expect(await held.since()).toEqual([]);
    const seen = await held.since(first);
    expect(seen.map((data) => data.snapshot.executionStatus)).toEqual(["PENDING_EXECUTING", "EXECUTING"]);
    expect(seen.at(-1)?.snapshot.friendlyId).toBe(held.snapshotId);
    expect(seen.map((data) => data.run.friendlyId)).toEqual([runId, runId]);
    expect(seen.map((data) => data.version)).toEqual(["1", "1"]);
  });

  it("bring completed waitpoints on the last one only (behaviour 78)", async () => {
    const scene = await plane.scene();
    const runId = await scene.trigger();
    const first = (await scene.snapshot(runId)).snapshot.friendlyId;
    const held = await scene.worker.takeAndStart();
    for (const _ of [1, 2]) {
      const tokenId = await scene.waitForNewToken(held);
      await scene.completeToken(tokenId, "1");
      await scene.untilState(runId, "EXECUTING/EXECUTING");
    }
    const seen = await held.since(first);
    expect(seen.map((data) => data.completedWaitpoints.length)).toEqual([0, 0, 0, 0, 0, 1]);
    const atWait = await held.since(seen[3]?.snapshot.friendlyId);
    expect(atWait.map((data) => data.completedWaitpoints.length)).toEqual([0, 1]);
  });

  it("are refused for an id that is unknown, malformed, or of another run, and the engine goes on (behaviours 71 and 79)", async () => {
    const scene = await plane.scene();
    const runId = await scene.trigger();
    const other = await scene.trigger();
    const foreign = (await scene.snapshot(other)).snapshot.friendlyId;
    const { worker } = scene;
    const malformed = [
      "snapshot_0000000000000000000000000",
      "snapshot_zzzzzzzzzzzzzzzzzzzzzzzzz",
      "run_1",
      "",
      "'; drop table runs; --",
      "snapshot_\u0000",
      "x".repeat(10_000),
      foreign,
    ];
    for (const id of malformed) {
      expect(await scene.engine.snapshotsSince(worker.ref, runId, id, {}), id.slice(0, 40)).toMatchObject({ kind: "refused" });
    }
    expect(await scene.engine.snapshotsSince(worker.ref, "run_unknown", foreign, {})).toMatchObject({ kind: "refused", code: "not_found" });
    expect(await scene.state(runId)).toBe("QUEUED/PENDING");
  });

  it("are not shown to a node that asks for another environment's", async () => {
    const scene = await plane.scene();
    const elsewhere = await plane.scene();
    const runId = await scene.trigger();
    const first = (await scene.snapshot(runId)).snapshot.friendlyId;
    expect(await scene.engine.snapshotsSince(scene.worker.ref, runId, first, { environmentId: elsewhere.env.id })).toMatchObject({
      kind: "refused",
      code: "not_found",
    });
    expect(await scene.engine.snapshotsSince(scene.worker.ref, runId, first, { environmentId: scene.env.id })).toEqual({
      kind: "found",
      snapshots: [],
    });
  });

  it("are at most fifty, the newest, so that the last of them is the latest", async () => {
    const scene = await plane.scene();
    const held = await scene.executing("flaky", { maxAttempts: 100 });
    const first = held.snapshotId;
    for (let round = 0; round < 35; round++) {
      await held.fail(userError("again"), 0);
      await held.start();
    }
    const ids = (await held.since(first)).map((data) => data.snapshot.friendlyId);
    expect(ids).toHaveLength(50);
    expect(ids.toSorted()).toEqual(ids);
    expect(ids.at(-1)).toBe(held.snapshotId);
  });

  it("are answered quickly when 500 waitpoints brought 10 to 100 KB each (behaviour 80)", async () => {
    const scene = await plane.scene();
    const held = await scene.executing();
    const first = held.snapshotId;
    const tokens = await Promise.all(Array.from({ length: 500 }, () => scene.token()));
    await Promise.all(tokens.map(async (tokenId) => must(await scene.engine.waitForToken(scene.env, held.runId, tokenId), "waiting")));
    await Promise.all(
      tokens.map((tokenId, index) => scene.completeToken(tokenId, JSON.stringify("x".repeat(10_000 + (index % 10) * 10_000)))),
    );
    await scene.untilState(held.runId, "EXECUTING/EXECUTING", { limitMs: 15_000 });
    const startedAtMs = performance.now();
    const seen = await held.since(first);
    expect(performance.now() - startedAtMs).toBeLessThan(3_000);
    expect(seen.map((data) => data.completedWaitpoints.length)).toEqual([0, 500]);
    expect(seen.at(-1)?.completedWaitpoints.every((waitpoint) => (waitpoint.output?.length ?? 0) > 10_000)).toBe(true);
  });
});
