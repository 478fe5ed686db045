import { describe, expect, it } from "vitest";
import { task, usePlane } from "./harness.ts";
import { failure, userError } from "./worker.ts";

const plane = usePlane();

describe("continuing a woken run", () => {
  it("twice is refused the second time", async () => {
    const scene = await plane.scene();
    const { held, tokenId } = await scene.asleep();
    await scene.completeToken(tokenId);
    const woken = await scene.untilTaken(held.runId);
    const twin = woken.through(plane.worker("node-2"));
    const outcomes = await Promise.all([woken.tryContinue(), twin.tryContinue()]);
    expect(outcomes.map((outcome) => outcome.kind).toSorted()).toEqual(["continued", "refused"]);
    expect((await scene.history(held.runId)).filter((status) => status === "EXECUTING")).toHaveLength(2);
  });

  it("is refused for a run that has no memory image to continue from", async () => {
    const scene = await plane.scene();
    await scene.trigger();
    const held = await scene.worker.take();
    expect(await held.tryContinue()).toMatchObject({ kind: "refused" });
    await held.start();
    expect(await held.tryContinue()).toMatchObject({ kind: "refused" });
    expect(await scene.state(held.runId)).toBe("EXECUTING/EXECUTING");
  });

  it("is refused to the old runner of a run that was given back", async () => {
    const scene = await plane.scene();
    const { held, tokenId } = await scene.asleep();
    await scene.completeToken(tokenId);
    const old = await scene.untilTaken(held.runId);
    await plane.clock.advance(61_000);
    const fresh = await scene.untilTaken(held.runId);
    expect(await old.tryContinue()).toMatchObject({ kind: "refused" });
    await fresh.continue();
  });

  it("leaves the attempt as it was: a failure afterwards is retried from the start, without the image", async () => {
    const scene = await plane.scene({ tasks: [task("work", { retry: { maxAttempts: 2 } })] });
    const { held, tokenId } = await scene.asleep();
    await scene.completeToken(tokenId);
    const woken = await scene.untilTaken(held.runId);
    await woken.continue();
    expect(await woken.complete(failure(held.runId, userError("after the wait"), 0))).toMatchObject({ attemptStatus: "RETRY_IMMEDIATELY" });
    expect((await woken.start()).run.attemptNumber).toBe(2);
    expect((await woken.latest()).checkpoint).toBeUndefined();
  });
});

describe("a memory image that cannot be restored", () => {
  it("is tried again with the image when the node asks for it", async () => {
    const scene = await plane.scene();
    const { held, tokenId } = await scene.asleep("mem_try_again");
    await scene.completeToken(tokenId, '"answer"');
    const woken = await scene.untilTaken(held.runId);
    expect(await woken.restoreOutcome("requeue", "node lost")).toEqual({ kind: "noted" });
    const again = await scene.untilTaken(held.runId);
    expect(again.message).toMatchObject({ checkpoint: { location: "mem_try_again" }, completedWaitpoints: [{ friendlyId: tokenId }] });
  });

  it("is dropped when the node refuses it: the attempt starts over without it, and the run's timeline names the reason", async () => {
    const scene = await plane.scene({ tasks: [task("work", { retry: { maxAttempts: 2 } })] });
    const { held, tokenId } = await scene.asleep("mem_damaged");
    await scene.completeToken(tokenId);
    const woken = await scene.untilTaken(held.runId);
    expect(await woken.restoreOutcome("fail", "image damaged")).toEqual({ kind: "noted" });
    const fresh = await scene.untilTaken(held.runId);
    expect(fresh.message.checkpoint).toBeUndefined();
    expect(fresh.message.completedWaitpoints).toEqual([]);
    expect(await scene.engine.liveCheckpoints(scene.worker.ref, ["mem_damaged"])).toEqual([]);
    expect((await fresh.start()).run.attemptNumber).toBe(2);
    await fresh.succeed();
    expect(JSON.stringify(await scene.engine.timeline(scene.env, held.runId))).toContain("image damaged");
  });

  it("fails the run with the reason when no attempts are left", async () => {
    const scene = await plane.scene();
    const parent = await scene.executing();
    const childId = await scene.triggerAndWait(parent);
    const child = await scene.worker.takeAndStart();
    const tokenId = await scene.waitForNewToken(child);
    await child.suspend("mem_damaged_2");
    await scene.completeToken(tokenId);
    const woken = await scene.untilTaken(childId);
    await woken.restoreOutcome("fail", "image damaged");
    expect(await scene.state(childId)).toBe("FINISHED/SYSTEM_FAILURE");
    expect(JSON.stringify((await scene.run(childId)).error)).toContain("image damaged");
    await scene.untilState(parent.runId, "EXECUTING/EXECUTING");
  });

  it("can be reported for the latest snapshot only", async () => {
    const scene = await plane.scene();
    const { held, tokenId } = await scene.asleep();
    await scene.completeToken(tokenId);
    const woken = await scene.untilTaken(held.runId);
    const stale = woken.through(plane.worker("node-2"));
    await woken.continue();
    expect((await stale.restoreOutcome("fail")).kind).toBe("refused");
    expect(await scene.state(held.runId)).toBe("EXECUTING/EXECUTING");
  });
});
