import { describe, expect, it } from "vitest";
import { task, usePlane } from "./harness.ts";
import { userError } from "./worker.ts";

const plane = usePlane();

describe("several waits of one run", () => {
  it("make one block, and end with one resume when all are completed at the same moment (behaviour 69)", async () => {
    const scene = await plane.scene();
    const held = await scene.executing();
    const first = held.snapshotId;
    const tokens: string[] = [];
    for (let index = 0; index < 30; index++) tokens.push(await scene.waitForNewToken(held));
    await Promise.all(tokens.map((tokenId) => scene.completeToken(tokenId)));
    const waitpoints = await scene.untilResumed(held);
    expect(waitpoints.map((waitpoint) => waitpoint.friendlyId).toSorted()).toEqual(tokens.toSorted());
    await plane.timersHandled();
    expect((await held.since(first)).map((data) => data.snapshot.executionStatus)).toEqual(["EXECUTING_WITH_WAITPOINTS", "EXECUTING"]);
    await held.succeed();
  });

  it("hold the run until the last one", async () => {
    const scene = await plane.scene();
    const held = await scene.executing();
    const [one, two] = [await scene.waitForNewToken(held), await scene.waitForNewToken(held)];
    await scene.completeToken(one, "1");
    await plane.timersHandled();
    expect(await scene.state(held.runId)).toBe("EXECUTING_WITH_WAITPOINTS/EXECUTING");
    expect((await held.latest()).completedWaitpoints).toEqual([]);
    await scene.completeToken(two, "2");
    expect((await scene.untilResumed(held)).map((waitpoint) => waitpoint.output).toSorted()).toEqual(["1", "2"]);
  });

  it("one after the other bring only their own waitpoint", async () => {
    const scene = await plane.scene();
    const held = await scene.executing();
    for (const _ of [1, 2, 3]) {
      const tokenId = await scene.waitForNewToken(held);
      await scene.completeToken(tokenId);
      expect((await scene.untilResumed(held)).map((waitpoint) => waitpoint.friendlyId)).toEqual([tokenId]);
    }
  });
});

describe("one token", () => {
  it("wakes every run that waits for it", async () => {
    const scene = await plane.scene();
    const runs = [await scene.executing(), await scene.executing(), await scene.executing()];
    const tokenId = await scene.token();
    for (const held of runs) await scene.waitForToken(held, tokenId);
    await runs[2]?.suspend();
    await scene.completeToken(tokenId, "1");
    for (const held of runs.slice(0, 2)) expect(await scene.untilResumed(held)).toMatchObject([{ friendlyId: tokenId, output: "1" }]);
    expect((await scene.untilTaken(runs[2]?.runId ?? "")).message.completedWaitpoints).toMatchObject([
      { friendlyId: tokenId, output: "1" },
    ]);
  });

  it("that a run waits for twice is brought once", async () => {
    const scene = await plane.scene();
    const held = await scene.executing();
    const tokenId = await scene.waitForNewToken(held);
    await scene.waitForToken(held, tokenId);
    await scene.completeToken(tokenId);
    expect(await scene.untilResumed(held)).toMatchObject([{ friendlyId: tokenId }]);
  });

  it("that is still open does not hold a run that ends without it", async () => {
    const scene = await plane.scene();
    const { held, tokenId } = await scene.waiting();
    expect(await held.succeed("did not need it")).toMatchObject({ attemptStatus: "RUN_FINISHED" });
    await scene.completeToken(tokenId);
    await plane.timersHandled();
    expect(await scene.state(held.runId)).toBe("FINISHED/COMPLETED_SUCCESSFULLY");
  });
});

describe("failing while waiting", () => {
  it("removes the blocks: the retry begins with none and no waitpoint (behaviour 66)", async () => {
    const scene = await plane.scene({ tasks: [task("work", { retry: { maxAttempts: 3 } })] });
    const { held, tokenId } = await scene.waiting();
    expect((await held.fail(userError("gave up waiting"), 0)).attemptStatus).toBe("RETRY_IMMEDIATELY");
    await held.start();
    expect((await held.latest()).completedWaitpoints).toEqual([]);
    await scene.completeToken(tokenId);
    await plane.timersHandled();
    const latest = await held.latest();
    expect(latest.snapshot.friendlyId).toBe(held.snapshotId);
    expect(latest.completedWaitpoints).toEqual([]);
    const again = await scene.waitForNewToken(held);
    await scene.completeToken(again);
    expect((await scene.untilResumed(held)).map((waitpoint) => waitpoint.friendlyId)).toEqual([again]);
  });

  it("gives a retry none of the waitpoints that the failed attempt had received", async () => {
    const scene = await plane.scene({ tasks: [task("work", { retry: { maxAttempts: 3 } })] });
    const { held, tokenId } = await scene.waiting();
    await scene.completeToken(tokenId);
    await scene.untilResumed(held);
    await held.fail(userError("after the wait"), 0);
    expect((await held.latest()).completedWaitpoints).toEqual([]);
    await held.start();
    expect((await held.latest()).completedWaitpoints).toEqual([]);
  });
});
