import { describe, expect, it } from "vitest";
import { body, usePlane } from "./harness.ts";
import { success, systemError, userError } from "./worker.ts";

const plane = usePlane();

describe("the history of a run", () => {
  it("has one snapshot after a plain trigger (behaviour 6)", async () => {
    const scene = await plane.scene();
    expect(await scene.history(await scene.trigger())).toEqual(["QUEUED"]);
  });

  it("shows a delayed run as DELAYED, then QUEUED (behaviour 6, delayed)", async () => {
    const scene = await plane.scene();
    const runId = await scene.trigger("work", { delayUntil: new Date(plane.clock.nowMs() + 60_000) });
    expect(await scene.history(runId)).toEqual(["DELAYED"]);
    await plane.clock.advance(60_000);
    await scene.untilState(runId, "QUEUED/PENDING");
    expect(await scene.history(runId)).toEqual(["DELAYED", "QUEUED"]);
  });

  it("of a run that slept and was woken reads QUEUED, PENDING_EXECUTING, EXECUTING, EXECUTING_WITH_WAITPOINTS, SUSPENDED, QUEUED (behaviour 7)", async () => {
    const scene = await plane.scene();
    const runId = await scene.trigger();
    const first = (await scene.snapshot(runId)).snapshot.friendlyId;
    const held = await scene.worker.takeAndStart();
    const tokenId = await scene.waitForNewToken(held);
    await held.suspend();
    await scene.completeToken(tokenId);
    await scene.untilState(runId, "QUEUED/PENDING");
    const statuses = (await held.since(first)).map((data) => data.snapshot.executionStatus);
    expect(statuses).toEqual(["PENDING_EXECUTING", "EXECUTING", "EXECUTING_WITH_WAITPOINTS", "SUSPENDED", "QUEUED"]);
    expect(await scene.history(runId)).toEqual(["QUEUED", ...statuses]);
  });

  it("has snapshot ids that sort as strings in the order in which they were made", async () => {
    const scene = await plane.scene();
    const held = await scene.executing("flaky", { maxAttempts: 200 });
    const first = held.snapshotId;
    for (let attempt = 2; attempt <= 40; attempt++) {
      await held.fail(userError("again"), 0);
      await held.start();
    }
    await held.succeed();
    const { rows } = await plane.sql.query<{ id: string }>("select 'snapshot_' || id as id from snapshots where run_id = $1 order by seq", [
      body(held.runId),
    ]);
    const ids = rows.map((row) => row.id);
    expect(ids).toHaveLength(82);
    expect(ids).toContain(first);
    expect(ids.toSorted()).toEqual(ids);
    expect(ids.every((id) => /^snapshot_[0-9a-z]+$/.test(id))).toBe(true);
  });

  it("shows workers an attempt number on every snapshot after the start", async () => {
    const scene = await plane.scene();
    const held = await scene.executing();
    const first = held.snapshotId;
    await scene.waitForNewToken(held);
    await held.suspend();
    for (const data of await held.since(first)) expect(data.run.attemptNumber).toBe(1);
  });

  it("cannot be moved any more once the run has ended", async () => {
    const scene = await plane.scene();
    const held = await scene.executing();
    await held.succeed("first");
    const before = await scene.history(held.runId);
    expect(await held.tryComplete(success(held.runId, "second"))).toMatchObject({ kind: "refused" });
    expect(await held.tryStart()).toMatchObject({ kind: "refused" });
    expect(await held.tryContinue()).toMatchObject({ kind: "refused" });
    expect((await held.trySuspend("mem_late")).kind).not.toBe("accepted");
    expect(await scene.engine.waitForToken(scene.env, held.runId, await scene.token())).toMatchObject({ kind: "refused" });
    expect(await scene.engine.waitUntil(scene.env, held.runId, { date: new Date() })).toMatchObject({ kind: "refused" });
    expect(await held.tryComplete({ ok: false, id: held.runId, error: systemError("TASK_RUN_CANCELLED") })).toMatchObject({
      kind: "refused",
    });
    expect(await scene.history(held.runId)).toEqual(before);
    expect((await scene.run(held.runId)).output).toBe("first");
  });
});
