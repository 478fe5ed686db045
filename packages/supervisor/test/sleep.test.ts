import { gateway, workerActions } from "@torpor/contracts";
import { afterEach, describe, expect, it } from "vitest";
import { TestNode, type NodeOptions } from "./node.ts";

let node: TestNode;
afterEach(() => node.kill());

async function started(options: NodeOptions = {}): Promise<TestNode> {
  node = new TestNode(options);
  return await node.start();
}

describe("a waiting run falls asleep", () => {
  it("is frozen 5 s after it asked, reported, and destroyed only after the platform has accepted (L5)", async () => {
    await started();
    const runner = await node.waiting();
    await node.clock.advance(4_900);
    expect(node.gateway.instance(runner.name).state).toBe("running");
    await node.clock.advance(1_100);
    expect(node.platform.status(runner.runId)).toBe("SUSPENDED");
    expect(node.gateway.names()).toEqual([]);
    expect(node.sleepEvents(runner.runId)).toEqual([
      "snapshot.scheduled:asked",
      "snapshot.dispatched:due",
      "snapshot.frozen:held",
      "snapshot.completed:accepted",
    ]);
  });

  it("answers 202 at once and freezes nothing sooner than half a second later, even with a delay of 0", async () => {
    await started({ env: { COMPUTE_SNAPSHOT_DELAY_MS: "0" } });
    const runner = await node.executing();
    runner.snapshotId = node.platform.block(runner.runId);
    expect(await runner.suspend()).toMatchObject({ kind: "ok", status: 202, body: { ok: true } });
    await node.clock.advance(400);
    expect(node.gatewayLink.countOf(gateway.snapshotInstance)).toBe(0);
    await node.clock.advance(300);
    expect(node.gatewayLink.countOf(gateway.snapshotInstance)).toBe(1);
  });

  it("wakes to the latest snapshot alone, already continued, under a new name", async () => {
    await started();
    const runner = await node.asleep();
    node.platform.wake(runner.runId);
    await node.clock.advance(100);
    const [name = ""] = node.gateway.names();
    expect(name).not.toBe(runner.name);
    expect(node.platform.status(runner.runId)).toBe("EXECUTING");
    expect(await runner.since()).toEqual(["EXECUTING"]);
    expect(node.gateway.images.size).toBe(0);
  });

  it("runs to its end with nothing left behind: no sandbox, no image, no subscription", async () => {
    await started();
    const runner = await node.asleep();
    node.platform.wake(runner.runId);
    await node.clock.advance(100);
    await runner.since();
    await runner.complete();
    expect([...node.subscribed]).toEqual([]);
    node.gateway.exit(node.gateway.names()[0] ?? "", 0);
    await node.clock.advance(100);
    expect(node.platform.status(runner.runId)).toBe("FINISHED");
    expect([node.gateway.names(), [...node.gateway.images], [...node.subscribed]]).toEqual([[], [], []]);
  });

  it("sends the run's heartbeat for it while it is frozen", async () => {
    await started();
    node.gateway.autoFinish = false;
    const runner = await node.waiting();
    await node.clock.advance(6_000 + 41_000);
    expect(node.platform.heartbeats.filter(({ runId }) => runId === runner.runId).length).toBe(2);
  });

  it("waits for an open request of the runner before it freezes it", async () => {
    await started();
    const runner = await node.waiting();
    const done = node.core.trackRequest({ "x-trigger-workload-runner-id": runner.claim }, "127.0.0.1");
    await node.clock.advance(6_000);
    expect(node.gatewayLink.countOf(gateway.snapshotInstance)).toBe(0);
    done();
    await node.clock.advance(200);
    expect(node.gatewayLink.countOf(gateway.snapshotInstance)).toBe(1);
  });

  it("waits for it, too, when it learns more of the runner meanwhile", async () => {
    await started();
    const runner = await node.waiting();
    const done = node.core.trackRequest({ "x-trigger-workload-runner-id": runner.claim }, "127.0.0.1");
    await node.clock.advance(4_500);
    const room = { cpu: 1, memoryGib: 1 };
    node.core.runners.add({ name: runner.name, room, lineage: [], restoredAt: null, adopted: true, attemptNumber: 1 }); // as when its sandbox is found
    await node.clock.advance(1_000);
    expect(node.gatewayLink.countOf(gateway.snapshotInstance)).toBe(0);
    done();
    await node.clock.advance(200);
    expect(node.gatewayLink.countOf(gateway.snapshotInstance)).toBe(1);
  });
});

describe("the wait ends at any moment of the sleep (L1, L4)", () => {
  it("in the timer wheel: nothing is frozen, although the runner only polls", async () => {
    await started();
    const runner = await node.waiting();
    node.platform.onNotify = () => {};
    await node.clock.advance(2_000);
    node.platform.wake(runner.runId);
    expect(await runner.since()).toEqual(["EXECUTING"]);
    expect(node.core.intents.of(runner.runId)).toBeUndefined();
    await node.clock.advance(10_000);
    expect(node.gatewayLink.countOf(gateway.snapshotInstance)).toBe(0);
    expect(node.sleepEvents(runner.runId)).toContain("snapshot.canceled:resumed");
  });

  it("in the timer wheel, told by the platform's push alone", async () => {
    await started();
    const runner = await node.waiting();
    node.platform.wake(runner.runId);
    await node.clock.advance(100);
    expect(node.core.intents.of(runner.runId)).toBeUndefined();
    await node.clock.advance(10_000);
    expect(node.gatewayLink.countOf(gateway.snapshotInstance)).toBe(0);
    expect(node.sleepEvents(runner.runId)).toContain("snapshot.canceled:resumed");
  });

  it("in the timer wheel, told by the runner's heartbeat at its newer snapshot alone", async () => {
    await started();
    const runner = await node.waiting();
    node.platform.onNotify = () => {};
    node.platform.wake(runner.runId);
    runner.snapshotId = node.platform.latest(runner.runId).snapshot.friendlyId;
    await runner.heartbeat();
    expect(node.core.intents.of(runner.runId)).toBeUndefined();
  });

  it("told by nobody: the look at the platform just before freezing finds it", async () => {
    await started();
    const runner = await node.waiting();
    node.platform.onNotify = () => {};
    node.platform.wake(runner.runId);
    await node.clock.advance(10_000);
    expect(node.gatewayLink.countOf(gateway.snapshotInstance)).toBe(0);
    expect(node.sleepEvents(runner.runId)).toContain("snapshot.canceled:resumed");
  });

  it("behind the limit on freezes at once", async () => {
    await started({ env: { COMPUTE_SNAPSHOT_DISPATCH_LIMIT: "1" } });
    node.gateway.autoFinish = false;
    const first = await node.waiting();
    const second = await node.waiting();
    await node.clock.advance(6_000);
    expect(node.core.intents.of(second.runId)?.state).toBe("due");
    node.platform.wake(second.runId);
    await node.clock.advance(100);
    expect(node.core.intents.of(second.runId)).toBeUndefined();
    await node.gateway.finish(first.name);
    await node.clock.advance(1_000);
    expect(node.platform.status(first.runId)).toBe("SUSPENDED");
    expect(node.gatewayLink.callsOf(gateway.snapshotInstance).map(({ params }) => params["name"])).toEqual([first.name]);
    expect(node.errors).toEqual([]);
  });

  it("while the platform is being asked", async () => {
    await started();
    const runner = await node.waiting();
    const held = Promise.withResolvers<void>();
    node.platformLink.failNext(workerActions.latestSnapshot, { hold: held.promise });
    await node.clock.advance(6_000);
    expect(node.core.intents.of(runner.runId)?.state).toBe("checking");
    node.platform.wake(runner.runId);
    await node.clock.advance(100);
    held.resolve();
    await node.clock.advance(5_000);
    expect(node.gatewayLink.countOf(gateway.snapshotInstance)).toBe(0);
  });

  it("while its memory is being written: it is thawed at once and goes on in the same sandbox", async () => {
    await started();
    node.gateway.autoFinish = false;
    const runner = await node.waiting();
    await node.clock.advance(6_000);
    expect(node.gateway.instance(runner.name).state).toBe("freezing");
    node.platform.wake(runner.runId);
    await node.clock.advance(50);
    expect(node.gateway.instance(runner.name).state).toBe("running");
    expect(await runner.since()).toEqual(["EXECUTING"]);
    expect(node.platformLink.countOf(workerActions.completeSuspension)).toBe(0);
    expect(node.gateway.images.size).toBe(0);
  });

  it("while the request to freeze is still on its way to the gateway: the cancel that came first does not leave it frozen", async () => {
    await started();
    node.gateway.autoFinish = false;
    const runner = await node.waiting();
    const held = Promise.withResolvers<void>();
    node.gatewayLink.failNext(gateway.snapshotInstance, { hold: held.promise });
    await node.clock.advance(6_000);
    node.platform.wake(runner.runId);
    await node.clock.advance(100);
    held.resolve();
    await node.clock.advance(100);
    expect(node.gateway.instance(runner.name).state).toBe("running");
    expect(node.gateway.images.size).toBe(0);
  });

  it("after its memory is written and before the report: the platform refuses, it is thawed and the files are deleted", async () => {
    await started();
    const runner = await node.waiting();
    node.platform.onNotify = () => {};
    const held = Promise.withResolvers<void>();
    node.platformLink.failNext(workerActions.completeSuspension, { hold: held.promise });
    await node.clock.advance(6_000);
    expect(node.gateway.instance(runner.name).state).toBe("held");
    node.platform.wake(runner.runId);
    held.resolve();
    await node.clock.advance(500);
    expect(node.gateway.instance(runner.name).state).toBe("running");
    expect(node.gateway.images.size).toBe(0);
    expect(node.sleepEvents(runner.runId)).toContain("snapshot.refused:not_accepted");
    expect(await runner.since()).toEqual(["EXECUTING"]);
  });

  it("right after the suspension was accepted: the restore waits until the original is destroyed (L5)", async () => {
    await started();
    const runner = await node.waiting();
    const held = Promise.withResolvers<void>();
    node.gatewayLink.failNext(gateway.commitSnapshot, { hold: held.promise });
    await node.clock.advance(6_000);
    expect(node.platform.status(runner.runId)).toBe("SUSPENDED");
    node.platform.wake(runner.runId);
    await node.clock.advance(1_000);
    expect(node.gateway.names()).toEqual([runner.name]);
    held.resolve();
    await node.clock.advance(500);
    expect(node.gateway.log.indexOf(`commit ${runner.name}`)).toBeLessThan(node.gateway.log.length - 1);
    expect(node.platform.status(runner.runId)).toBe("EXECUTING");
  });
});
