import { gateway } from "@torpor/contracts";
import { afterEach, describe, expect, it } from "vitest";
import { TestNode, type NodeOptions } from "./node.ts";

let node: TestNode;
afterEach(() => node.kill());

/** Decides by cost: no fixed delay. */
async function started(options: NodeOptions = {}): Promise<TestNode> {
  node = new TestNode({ ...options, env: { COMPUTE_SNAPSHOT_DELAY_MS: "", ...options.env } });
  return await node.start();
}

/** Four sandboxes of half a GiB fill the node from now on. */
async function shrink(): Promise<void> {
  node.gateway.memoryTotalBytes = 2 * 1024 ** 3;
  await node.core.room.refresh();
}

const scheduled = (runId: string) =>
  node.platform.timeline.find((line) => line.runId === runId && /scheduled|not_worth_it/.test(line.event.name))?.event;

describe("a wait whose end the platform tells", () => {
  it("and which is far sleeps at once, half a second after it asked, and its timeline says why", async () => {
    await started();
    const runner = await node.waitingFor({ inMs: 3_600_000 });
    await node.clock.advance(400);
    expect(node.gateway.instance(runner.name).state).toBe("running");
    await node.clock.advance(800);
    expect(node.platform.status(runner.runId)).toBe("SUSPENDED");
    expect(scheduled(runner.runId)).toMatchObject({
      name: "snapshot.scheduled",
      properties: { decision: "far_end", waitKind: "DATETIME", delayMs: 500 },
    });
    expect(scheduled(runner.runId)?.properties?.["expectedRestMs"]).toBeGreaterThan(3_590_000);
  });

  it("and which is near stays awake, and its timeline says why", async () => {
    await started();
    const runner = await node.waitingFor({ inMs: 6_000 });
    await node.clock.advance(5_900);
    node.platform.wake(runner.runId);
    await node.clock.advance(20_000);
    expect(node.gatewayLink.countOf(gateway.snapshotInstance)).toBe(0);
    expect(scheduled(runner.runId)).toMatchObject({ name: "snapshot.not_worth_it", properties: { decision: "near_end" } });
  });

  it("and which does not end when it should sleeps after all", async () => {
    await started();
    const runner = await node.waitingFor({ inMs: 6_000 });
    await node.clock.advance(28_000);
    expect(node.platform.status(runner.runId)).toBe("SUSPENDED");
  });

  it("and which only ends by then at the latest is held for a while, because it may end sooner", async () => {
    await started();
    const runner = await node.waitingFor({ inMs: 3_600_000, types: ["MANUAL"] });
    await node.clock.advance(5_000);
    expect(node.platform.status(runner.runId)).toBe("EXECUTING_WITH_WAITPOINTS");
    await node.clock.advance(25_000);
    expect(node.platform.status(runner.runId)).toBe("SUSPENDED");
  });
});

describe("a wait of which nothing is told", () => {
  it("by a foreign platform sleeps after the break-even", async () => {
    await started({ foreignPlatform: true });
    const runner = await node.waiting();
    await node.clock.advance(10_000);
    expect(node.platform.status(runner.runId)).toBe("EXECUTING_WITH_WAITPOINTS");
    await node.clock.advance(20_000);
    expect(node.platform.status(runner.runId)).toBe("SUSPENDED");
  });

  it("sleeps sooner once its task's waits have been long", async () => {
    await started();
    for (let wait = 0; wait < 12; wait++) {
      const runner = await node.waitingFor({ inMs: null, types: ["MANUAL"] });
      await node.clock.advance(60_000);
      node.platform.wake(runner.runId);
      await node.clock.advance(1_000);
    }
    const runner = await node.waitingFor({ inMs: null, types: ["MANUAL"] });
    await node.clock.advance(1_500);
    expect(node.platform.status(runner.runId)).toBe("SUSPENDED");
    expect(scheduled(runner.runId)?.properties).toMatchObject({ decision: "learned" });
  });
});

describe("when room runs out", () => {
  it("the run that waits longest sleeps at once, and no more than are needed", async () => {
    await started();
    const executing = await node.executing();
    const short = await node.waitingFor({ inMs: 6_000 });
    const long = await node.waitingFor({ inMs: 7_000 });
    await shrink();
    await node.executing(); // the node is full now: it looks for room before it asks for more
    await node.clock.advance(2_000);
    expect(node.platform.status(long.runId)).toBe("SUSPENDED");
    expect(node.platform.status(short.runId)).toBe("EXECUTING_WITH_WAITPOINTS");
    expect(node.platform.status(executing.runId)).toBe("EXECUTING");
    expect(node.sleepEvents(long.runId)).toContain("snapshot.hastened:pressure");
  });

  it("a run that executes is never touched, even when nobody waits", async () => {
    await started();
    const runners = [await node.executing(), await node.executing(), await node.executing()];
    await shrink();
    runners.push(await node.executing());
    await node.clock.advance(10_000);
    expect(node.gatewayLink.countOf(gateway.snapshotInstance)).toBe(0);
    expect(runners.map(({ runId }) => node.platform.status(runId))).toEqual(Array(4).fill("EXECUTING"));
  });

  it("a run that could not be frozen just now is not tried again before its time, and another sleeps in its place", async () => {
    await started();
    const failing = await node.waitingFor({ inMs: 7_000 });
    const other = await node.waitingFor({ inMs: 6_000 });
    node.gatewayLink.failNext(gateway.snapshotInstance, { status: 500 });
    await shrink();
    await node.executing();
    await node.executing(); // the node is full now
    await node.clock.advance(3_000);
    expect(node.gatewayLink.countOf(gateway.snapshotInstance)).toBe(2);
    expect(node.platform.status(failing.runId)).toBe("EXECUTING_WITH_WAITPOINTS");
    expect(node.platform.status(other.runId)).toBe("SUSPENDED");
  });

  it("on the machine itself, whatever was given out on paper, those who wait sleep at once", async () => {
    await started();
    const runner = await node.waitingFor({ inMs: 6_000 });
    node.gateway.memoryAvailableBytes = 100 * 1024 ** 2;
    await node.core.room.refresh();
    await node.clock.advance(1_500);
    expect(node.platform.status(runner.runId)).toBe("SUSPENDED");
  });
});
