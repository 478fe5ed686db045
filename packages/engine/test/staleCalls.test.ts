import { describe, expect, it } from "vitest";
import { inMs, task, usePlane } from "./harness.ts";
import { failure, success, userError, type HeldRun } from "./worker.ts";

const plane = usePlane();

describe("what a node says about a snapshot that is not the latest", () => {
  const calls: readonly (readonly [string, (stale: HeldRun) => Promise<{ readonly kind: string }>, readonly string[]])[] = [
    ["start", (stale) => stale.tryStart(), ["refused"]],
    ["complete", (stale) => stale.tryComplete(success(stale.runId, "stale")), ["refused"]],
    ["fail with a retry", (stale) => stale.tryComplete(failure(stale.runId, userError("stale"), 0)), ["refused"]],
    ["continue", (stale) => stale.tryContinue(), ["refused"]],
    ["suspend", (stale) => stale.trySuspend("mem_stale"), ["discarded"]],
    ["release", (stale) => stale.release(), ["refused"]],
    ["restore outcome", (stale) => stale.restoreOutcome("fail"), ["refused"]],
    ["restore outcome: again", (stale) => stale.restoreOutcome("requeue"), ["refused"]],
    ["heartbeat", async (stale) => (await stale.heartbeat(), { kind: "noted" }), ["noted"]],
  ];

  it.each(calls)("has no effect in any state of the run: %s", async (_name, call, kinds) => {
    const scene = await plane.scene({ tasks: [task("work", { retry: { maxAttempts: 3 } })] });
    const runId = await scene.trigger();
    const held = await scene.worker.take();
    const check = async (stale: HeldRun): Promise<void> => {
      const before = await scene.history(runId);
      expect(kinds).toContain((await call(stale)).kind);
      expect(await scene.history(runId)).toEqual(before);
    };
    const asTaken = held.through(plane.worker("node-2"));
    await held.start();
    await check(asTaken.through(asTaken.worker)); // EXECUTING
    const asStarted = held.through(plane.worker("node-2"));
    const tokenId = await scene.waitForNewToken(held);
    await check(asStarted.through(asStarted.worker)); // EXECUTING_WITH_WAITPOINTS
    const asWaiting = held.through(plane.worker("node-2"));
    await held.suspend();
    await check(asWaiting.through(asWaiting.worker)); // SUSPENDED
    const asAsleep = held.through(plane.worker("node-2"));
    await scene.completeToken(tokenId);
    await scene.untilState(runId, "QUEUED/PENDING");
    await check(asAsleep.through(asAsleep.worker)); // QUEUED
    const woken = await scene.untilTaken(runId);
    await check(asAsleep.through(asAsleep.worker)); // PENDING_EXECUTING
    await woken.continue();
    await scene.cancel(runId);
    await check(woken.through(woken.worker)); // PENDING_CANCEL
  });

  it.each(calls)("is refused for a run that is unknown: %s", async (_name, call) => {
    const scene = await plane.scene();
    await scene.trigger();
    const held = await scene.worker.take();
    const ghost = Object.assign(held.through(held.worker), { runId: "run_0000000000000000000000000" });
    const outcome = await call(ghost).catch((error: unknown) => ({ kind: "refused", code: "not_found", error }));
    expect(["refused", "discarded", "noted"]).toContain(outcome.kind);
  });

  it("shows nothing of a run to a node that asks for another environment's", async () => {
    const scene = await plane.scene();
    const other = await plane.scene();
    const runId = await scene.trigger("work", { delayUntil: inMs(plane, 1_000) });
    expect(await scene.engine.latestSnapshot(scene.worker.ref, runId, { environmentId: other.env.id })).toBeNull();
    expect(await scene.engine.latestSnapshot(scene.worker.ref, runId, { environmentId: scene.env.id })).not.toBeNull();
  });
});
