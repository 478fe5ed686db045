import { describe, expect, it } from "vitest";
import { usePlane } from "./harness.ts";
import { canceled, userError } from "./worker.ts";

const plane = usePlane();

describe("cancelling a run that does not execute", () => {
  it("ends a queued run at once and leaves nothing in the queue (behaviour 17)", async () => {
    const scene = await plane.scene();
    const runId = await scene.trigger();
    await scene.cancel(runId, "changed my mind");
    expect(await scene.state(runId)).toBe("FINISHED/CANCELED");
    expect(await scene.queue()).toEqual({ running: 0, queued: 0 });
    expect(await scene.worker.tryTake()).toBeUndefined();
    expect(JSON.stringify((await scene.run(runId)).error)).toContain("changed my mind");
  });

  it("leaves a run that a node has taken but not started to that node, which ends it (behaviour 18)", async () => {
    const scene = await plane.scene();
    const runId = await scene.trigger();
    const held = await scene.worker.take();
    await scene.cancel(runId);
    expect(await scene.state(runId)).toBe("PENDING_CANCEL/CANCELED");
    expect(await held.tryStart()).toMatchObject({ kind: "refused" });
    await held.catchUp();
    expect(await held.complete(canceled(runId))).toMatchObject({ attemptStatus: "RUN_FINISHED" });
    expect(await scene.state(runId)).toBe("FINISHED/CANCELED");
  });

  it("does not requeue it when the node gives it back instead", async () => {
    const scene = await plane.scene();
    const runId = await scene.trigger();
    const held = await scene.worker.take();
    await scene.cancel(runId);
    await held.release();
    await plane.clock.advance(60_000);
    await scene.untilState(runId, "FINISHED/CANCELED");
    expect(await scene.worker.tryTake()).toBeUndefined();
  });

  it("ends a sleeping run at once, and its memory image is not needed any more", async () => {
    const scene = await plane.scene();
    const { held, tokenId } = await scene.asleep("mem_cancelled");
    expect(await scene.engine.liveCheckpoints(scene.worker.ref, ["mem_cancelled"])).toEqual(["mem_cancelled"]);
    await scene.cancel(held.runId);
    expect(await scene.state(held.runId)).toBe("FINISHED/CANCELED");
    expect(await scene.engine.liveCheckpoints(scene.worker.ref, ["mem_cancelled"])).toEqual([]);
    await scene.completeToken(tokenId);
    await plane.timersHandled();
    expect(await scene.state(held.runId)).toBe("FINISHED/CANCELED");
    expect(await scene.worker.tryTake()).toBeUndefined();
  });

  it("ends a woken run that is queued with its memory image", async () => {
    const scene = await plane.scene();
    const { held, tokenId } = await scene.asleep("mem_queued");
    await scene.completeToken(tokenId);
    await scene.untilState(held.runId, "QUEUED/PENDING");
    await scene.cancel(held.runId);
    expect(await scene.state(held.runId)).toBe("FINISHED/CANCELED");
    expect(await scene.engine.liveCheckpoints(scene.worker.ref, ["mem_queued"])).toEqual([]);
    expect(await scene.worker.tryTake()).toBeUndefined();
  });

  it("ends a run that waits for a retry", async () => {
    const scene = await plane.scene();
    const held = await scene.executing("flaky");
    await held.fail(userError("once"), 60_000);
    await scene.cancel(held.runId);
    expect(await scene.state(held.runId)).toBe("FINISHED/CANCELED");
    await plane.clock.advance(61_000);
    await plane.timersHandled();
    expect(await scene.worker.tryTake()).toBeUndefined();
  });

  it("says so when the run has already ended, and changes nothing", async () => {
    const scene = await plane.scene();
    const held = await scene.executing();
    await held.succeed("kept");
    expect(await scene.cancel(held.runId)).toEqual({ kind: "canceled", alreadyFinished: true });
    expect(await scene.run(held.runId)).toMatchObject({ status: "COMPLETED_SUCCESSFULLY", output: "kept" });
  });

  it("is refused for a run that does not exist", async () => {
    const scene = await plane.scene();
    expect(await scene.engine.cancelRun(scene.env, "run_unknown", "why not")).toMatchObject({ kind: "refused", code: "not_found" });
  });
});
