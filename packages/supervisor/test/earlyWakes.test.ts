import { gateway, workerActions } from "@torpor/contracts";
import { afterEach, describe, expect, it } from "vitest";
import { wokenBy } from "../src/sleep/wakeTeller.ts";
import { TestNode, type NodeOptions, TestRunner } from "./node.ts";

let node: TestNode;
afterEach(() => node.kill());

const HOUR_MS = 3_600_000;
/** What a wake takes here, as long as none was measured, and how much sooner one is ready. */
const LEAD_MS = 850;

async function started(options: NodeOptions = {}): Promise<TestNode> {
  node = new TestNode({ ...options, env: { COMPUTE_SNAPSHOT_DELAY_MS: "", ...options.env } });
  return await node.start();
}

/** A run that sleeps until a known time; afterwards it is `beforeMs` before that. */
async function asleepUntil(beforeMs: number): Promise<TestRunner> {
  const runner = await node.waitingFor({ inMs: HOUR_MS });
  const endMs = node.clock.nowMs() + HOUR_MS;
  await node.clock.advance(2_000);
  expect(node.platform.status(runner.runId)).toBe("SUSPENDED");
  await node.clock.advance(endMs - beforeMs - node.clock.nowMs());
  return runner;
}

/** The runner that was made ready: the same process under its new name. */
function ready(runner: TestRunner): TestRunner {
  const [name = ""] = node.gateway.names();
  const again = new TestRunner(node, runner.runId, name);
  again.snapshotId = runner.snapshotId;
  return again;
}

describe("a sleeping run whose end is known", () => {
  it("is made ready before its end, idles, and goes on when the engine hands it out, not before", async () => {
    await started();
    const asleep = await asleepUntil(LEAD_MS + 100);
    expect(node.gateway.names()).toEqual([]);
    await node.clock.advance(200);
    expect(node.gateway.names()).toHaveLength(1);
    const runner = ready(asleep);
    const news = runner.since();
    const asked = node.platformLink.countOf(workerActions.snapshotsSince);
    expect(await runner.heartbeat()).toMatchObject({ kind: "ok", body: { ok: true } });
    await node.clock.advance(300);
    expect(node.platform.status(runner.runId)).toBe("SUSPENDED");
    expect(node.platformLink.countOf(workerActions.continueRun)).toBe(0);
    node.platform.wake(runner.runId);
    await node.clock.advance(10);
    expect(await news).toEqual(["EXECUTING"]);
    expect(node.platformLink.countOf(workerActions.snapshotsSince)).toBe(asked);
    expect(node.gateway.names()).toEqual([runner.name]);
    expect(node.gateway.images.size).toBe(0);
  });

  it("hears that there is nothing new as long as it has not ended, and nothing of what happened while it slept", async () => {
    await started();
    const runner = ready(await asleepUntil(LEAD_MS - 10));
    const asked = node.platformLink.countOf(workerActions.snapshotsSince);
    const news = runner.since();
    await node.clock.advance(5_100);
    expect(await news).toEqual([]);
    expect(node.platformLink.countOf(workerActions.snapshotsSince)).toBe(asked);
  });

  it("whose runner asks late for what it goes on with hears from the platform what has happened since", async () => {
    await started();
    const runner = ready(await asleepUntil(100));
    node.platform.wake(runner.runId);
    await node.clock.advance(1_500);
    node.platform.cancel(runner.runId);
    expect(await runner.since()).toEqual(["PENDING_CANCEL"]);
  });

  it("says in its timeline by what it woke, how long it was ready, and how late it went on", async () => {
    await started();
    const { runId } = await asleepUntil(0);
    node.platform.wake(runId);
    await node.clock.advance(1_000);
    const line = node.platform.timeline.find(({ event }) => event.name === "wake.continued")?.event;
    expect(line).toMatchObject({ reason: "time", properties: { way: "ahead", lateMs: 0, readyAheadMs: LEAD_MS } });
  });

  it("keeps its memory image until it goes on: when its sandbox dies before that, it is restored as others are (L11)", async () => {
    await started();
    const { runId } = await asleepUntil(100);
    node.gateway.exit(node.gateway.names()[0] ?? "", 137);
    await node.clock.advance(100);
    expect([...node.gateway.images.values()].map(({ state }) => state)).toEqual(["stored"]);
    node.platform.wake(runId);
    await node.clock.advance(500);
    expect(node.platform.status(runId)).toBe("EXECUTING");
    expect(node.events(runId)).toContain("wake.not_needed:died");
    expect(node.gateway.images.size).toBe(0);
  });

  it("whose sandbox has died without a word is restored as others are", async () => {
    await started();
    const { runId } = await asleepUntil(100);
    const [name = ""] = node.gateway.names();
    node.gateway.instances.delete(name);
    for (const image of node.gateway.images.values()) image.state = "stored";
    node.platform.wake(runId);
    await node.clock.advance(500);
    expect(node.platform.status(runId)).toBe("EXECUTING");
    expect(node.gateway.names()).not.toContain(name);
  });

  it("that is handed out while it is being made ready waits for that, and is restored once (L6)", async () => {
    await started();
    const asleep = await asleepUntil(LEAD_MS + 100);
    const held = Promise.withResolvers<void>();
    node.gatewayLink.failNext(gateway.restoreSnapshot, { hold: held.promise });
    await node.clock.advance(600);
    node.platform.wake(asleep.runId);
    await node.clock.advance(100);
    expect(node.platform.status(asleep.runId)).toBe("PENDING_EXECUTING");
    held.resolve();
    await node.clock.advance(50);
    expect(node.platform.status(asleep.runId)).toBe("EXECUTING");
    expect(node.gatewayLink.countOf(gateway.restoreSnapshot)).toBe(1);
  });

  it("goes on only when its memory image is gone for good (L6)", async () => {
    await started();
    const { runId } = await asleepUntil(100);
    const held = Promise.withResolvers<void>();
    node.gatewayLink.failNext(gateway.deleteSnapshot, { hold: held.promise });
    node.platform.wake(runId);
    await node.clock.advance(100);
    expect(node.gatewayLink.countOf(gateway.deleteSnapshot)).toBe(1);
    expect(node.platformLink.countOf(workerActions.continueRun)).toBe(0);
    held.resolve();
    await node.clock.advance(50);
    expect(node.platform.status(runId)).toBe("EXECUTING");
    expect(node.gateway.images.size).toBe(0);
  });

  it("whose memory image cannot be deleted does not go on, and wakes as others do", async () => {
    await started();
    const { runId } = await asleepUntil(100);
    const [before] = node.gateway.names();
    node.gatewayLink.failNext(gateway.deleteSnapshot, "lose_request", "lose_request", "lose_request");
    node.platform.wake(runId);
    await node.clock.advance(3_000);
    expect(node.events(runId)).toContain("wake.not_needed:not_consumed");
    expect(node.gateway.names()).not.toContain(before);
    expect(node.platform.status(runId)).toBe("EXECUTING");
    expect(node.gateway.images.size).toBe(0);
  });

  it("whose runner ends it ahead of time loses that runner, and wakes as others do (L8)", async () => {
    await started();
    const runner = ready(await asleepUntil(100));
    expect(await runner.complete()).toMatchObject({ kind: "refused", status: 409, code: "snapshot_stale" });
    expect(node.platformLink.countOf(workerActions.completeAttempt)).toBe(0);
    await node.clock.advance(50);
    expect(node.gateway.names()).toEqual([]);
    expect([...node.gateway.images.values()].map(({ state }) => state)).toEqual(["stored"]);
    node.platform.wake(runner.runId);
    await node.clock.advance(500);
    expect(node.platform.status(runner.runId)).toBe("EXECUTING");
    expect(node.gateway.names()).not.toContain(runner.name);
    expect(node.events(runner.runId)).toContain("wake.not_needed:left");
  });

  it.each(["lose_reply", { status: 503, code: "no_capacity" }, { status: 422, code: "memory_image_refused" }] as const)(
    "that cannot be made ready (%s) wakes as others do, and leaves no second sandbox",
    async (fault) => {
      await started();
      const asleep = await asleepUntil(LEAD_MS + 100);
      node.gatewayLink.failNext(gateway.restoreSnapshot, fault);
      await node.clock.advance(500);
      node.platform.wake(asleep.runId);
      await node.clock.advance(2_000);
      expect(node.platform.status(asleep.runId)).toBe("EXECUTING");
      expect(node.gateway.names()).toHaveLength(1);
    },
  );

  it("that waits in its queue beyond its end gives its room back after ten seconds, and wakes when its turn comes", async () => {
    await started();
    const { runId } = await asleepUntil(100);
    await node.clock.advance(11_000);
    expect(node.gateway.names()).toEqual([]);
    expect([...node.gateway.images.values()].map(({ state }) => state)).toEqual(["stored"]);
    node.platform.wake(runId);
    await node.clock.advance(500);
    expect(node.platform.status(runId)).toBe("EXECUTING");
    expect(node.events(runId)).toContain("wake.not_needed:not_called");
  });

  it("that is cancelled meanwhile leaves neither sandbox nor memory image (L7)", async () => {
    await started();
    const { runId } = await asleepUntil(100);
    node.platform.cancel(runId);
    await node.core.onNotify(runId);
    await node.clock.advance(300);
    expect(node.gateway.names()).toEqual([]);
    await node.core.sweeper.sweep();
    expect(node.gateway.images.size).toBe(0);
    expect(node.events(runId)).toContain("wake.not_needed:canceled");
  });

  it("but wakes by something else before wakes as others do", async () => {
    await started();
    const runner = await node.waitingFor({ inMs: HOUR_MS, types: ["MANUAL"] });
    await node.clock.advance(40_000);
    expect(node.platform.status(runner.runId)).toBe("SUSPENDED");
    node.platform.wake(runner.runId);
    await node.clock.advance(500);
    expect(node.platform.status(runner.runId)).toBe("EXECUTING");
    const awake = ready(runner);
    expect(await awake.since()).toEqual(["EXECUTING"]);
    await awake.complete();
    node.gateway.exit(node.gateway.names()[0] ?? "", 0);
    await node.clock.advance(HOUR_MS);
    expect(node.gateway.names()).toEqual([]);
  });

  it("that was cancelled in its sleep, which nobody here was told, is not made ready", async () => {
    await started();
    const { runId } = await asleepUntil(LEAD_MS + 100);
    node.platform.cancel(runId);
    await node.clock.advance(600);
    expect(node.gatewayLink.countOf(gateway.restoreSnapshot)).toBe(0);
    expect(node.gateway.names()).toEqual([]);
  });

  it("is not made ready while the platform cannot be asked, and wakes as others do", async () => {
    await started();
    const { runId } = await asleepUntil(LEAD_MS + 100);
    node.platformLink.failNext(workerActions.latestSnapshot, { status: 503 });
    await node.clock.advance(500);
    expect(node.gateway.names()).toEqual([]);
    node.platform.wake(runId);
    await node.clock.advance(500);
    expect(node.platform.status(runId)).toBe("EXECUTING");
  });

  it("finds its own room taken by nobody but itself on a full node", async () => {
    await started();
    await asleepUntil(LEAD_MS + 100);
    const [asleep] = [...node.platform.runs.keys()];
    node.gateway.memoryTotalBytes = 1024 ** 3;
    await node.core.room.refresh();
    await node.executing();
    await node.clock.advance(600);
    expect(node.gateway.names()).toHaveLength(2);
    node.platform.wake(asleep ?? "");
    node.core.consumers.start(); // the node is full, so nobody asks for runs; another loop stands for a poll that was under way
    await node.clock.advance(1_000);
    expect(node.gateway.names()).toHaveLength(2);
  });

  it("is not made ready where others need the room", async () => {
    await started();
    await asleepUntil(LEAD_MS + 100);
    node.gateway.memoryAvailableBytes = 1;
    await node.core.room.refresh();
    await node.clock.advance(600);
    expect(node.gatewayLink.countOf(gateway.restoreSnapshot)).toBe(0);
  });

  it("is not made ready by a foreign gateway, which could not take it back", async () => {
    await started({ foreignGateway: true });
    const runner = await node.waitingFor({ inMs: HOUR_MS });
    await node.clock.advance(HOUR_MS);
    expect(node.platform.status(runner.runId)).toBe("SUSPENDED");
    expect(node.gatewayLink.countOf(gateway.restoreSnapshot)).toBe(0);
  });
});

describe("a supervisor that ends while somebody is ready", () => {
  it("by a kill: the next one removes it, the image is free again, and the run wakes as others do", async () => {
    await started();
    const { runId } = await asleepUntil(100);
    const [before] = node.gateway.names();
    await node.restart();
    expect(node.gateway.names()).toEqual([]);
    node.platform.wake(runId);
    await node.clock.advance(500);
    expect(node.platform.status(runId)).toBe("EXECUTING");
    expect(node.gateway.names()).not.toContain(before);
  });

  it("by a kill: one that speaks up before it is found may not go on, and is removed (L6)", async () => {
    await started();
    const asleep = await asleepUntil(100);
    const runner = ready(asleep);
    node.platform.wake(asleep.runId);
    node.gatewayLink.failNext(gateway.listInstances, { status: 503 });
    await node.restart();
    const handedOut = node.platform.latest(asleep.runId).snapshot.friendlyId;
    expect(await runner.continue(handedOut)).toMatchObject({ kind: "refused" });
    expect(node.platform.status(runner.runId)).not.toBe("EXECUTING");
    await node.core.caretaker.look();
    expect(node.gateway.names()).not.toContain(runner.name);
  });

  it("by a kill between the end of its image and its going on: it is taken over and goes on by itself", async () => {
    await started();
    const asleep = await asleepUntil(100);
    node.platformLink.failNext(workerActions.continueRun, { hold: new Promise(() => {}) });
    node.platform.wake(asleep.runId);
    await node.clock.advance(100);
    expect(node.platform.status(asleep.runId)).toBe("PENDING_EXECUTING");
    expect(node.gateway.images.size).toBe(0);
    await node.restart();
    const runner = ready(asleep);
    expect(await runner.since()).toEqual(["PENDING_EXECUTING"]);
    expect(await runner.continue()).toMatchObject({ kind: "ok" });
    expect(await runner.since()).toEqual(["EXECUTING"]);
    await runner.complete();
    expect(node.platform.status(runner.runId)).toBe("FINISHED");
  });

  it("by a kill just after the run went on: the next one takes it over, and the image has gone before (L6, L7)", async () => {
    await started();
    const asleep = await asleepUntil(100);
    node.platform.wake(asleep.runId);
    await node.clock.advance(100);
    expect(node.platform.status(asleep.runId)).toBe("EXECUTING");
    await node.restart();
    const runner = ready(asleep);
    expect(await runner.since()).toEqual(["EXECUTING"]);
    await runner.complete();
    expect(node.platform.status(runner.runId)).toBe("FINISHED");
    expect(node.gateway.images.size).toBe(0);
  });

  it("by a drain: it removes it itself", async () => {
    await started();
    await asleepUntil(100);
    await node.core.earlyWakes.close();
    expect(node.gateway.names()).toEqual([]);
    expect([...node.gateway.images.values()].map(({ state }) => state)).toEqual(["stored"]);
  });
});

describe("what a run woke by", () => {
  it.each([
    [[], "nothing"],
    [["DATETIME"], "time"],
    [["MANUAL"], "token"],
    [["RUN"], "child"],
    [["RUN", "RUN"], "child"],
    [["RUN", "BATCH"], "batch"],
    [["BATCH", "RUN", "RUN"], "batch"],
    [["BATCH"], "batch"],
    [["MANUAL", "DATETIME"], "several"],
  ] as const)("%j is %s", (types, by) => {
    expect(wokenBy(types.map((type) => ({ type })))).toBe(by);
  });
});
