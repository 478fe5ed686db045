import { gateway, workload, WORKLOAD_HEADERS } from "@torpor/contracts";
import { afterEach, describe, expect, it } from "vitest";
import { TestNode, type NodeOptions } from "./node.ts";

let node: TestNode;
afterEach(() => node.kill());

async function started(options: NodeOptions = {}): Promise<TestNode> {
  node = new TestNode(options);
  return await node.start();
}

describe("suspend", () => {
  it.each([WORKLOAD_HEADERS.deploymentVersion, WORKLOAD_HEADERS.projectRef])(
    "without %s is refused with ok:false, and the runner waits in memory",
    async (header) => {
      await started();
      const runner = await node.executing();
      const headers = {
        [WORKLOAD_HEADERS.runnerId]: runner.claim,
        [WORKLOAD_HEADERS.deploymentVersion]: "1",
        [WORKLOAD_HEADERS.projectRef]: "p",
      };
      delete headers[header];
      const outcome = await node.workload.call(workload.suspend, {
        params: { runId: runner.runId, snapshotId: runner.snapshotId },
        headers,
      });
      expect(outcome).toMatchObject({ kind: "refused", status: 400, message: expect.stringContaining(header) as string });
    },
  );

  it("is refused when the gateway cannot freeze, and when snapshots are off", async () => {
    await started({ env: { COMPUTE_SNAPSHOTS_ENABLED: "false" } });
    const runner = await node.executing();
    expect(await runner.suspend()).toMatchObject({ kind: "refused", status: 400 });
    node.kill();
    await started();
    node.gateway.canSnapshot = false;
    await node.core.room.refresh();
    expect(await (await node.executing()).suspend()).toMatchObject({ kind: "refused", status: 400 });
  });

  it("repeated for the same wait changes nothing, neither when it is due nor that it is", async () => {
    await started();
    const runner = await node.waiting();
    await node.clock.advance(4_000);
    await runner.suspend();
    await node.clock.advance(1_500);
    expect(node.platform.status(runner.runId)).toBe("SUSPENDED");
  });

  it("for a newer wait replaces the older, whose time does not count", async () => {
    await started();
    const runner = await node.waiting();
    await node.clock.advance(4_000);
    runner.snapshotId = node.platform.block(runner.runId);
    await runner.suspend();
    await node.clock.advance(2_000);
    expect(node.gatewayLink.countOf(gateway.snapshotInstance)).toBe(0);
    await node.clock.advance(3_500);
    expect(node.platform.status(runner.runId)).toBe("SUSPENDED");
  });

  it("for an older wait, that arrives late, does not disturb the newer", async () => {
    await started();
    const runner = await node.waiting();
    const older = runner.snapshotId;
    runner.snapshotId = node.platform.block(runner.runId);
    await runner.suspend();
    const newer = runner.snapshotId;
    runner.snapshotId = older;
    await runner.suspend();
    expect(node.core.intents.of(runner.runId)?.snapshotId).toBe(newer);
  });
});

describe("a runner that falls silent (L3)", () => {
  it("is not frozen while its socket is lost and nothing is heard of it, and is when it is heard again", async () => {
    await started();
    const runner = await node.waiting();
    const known = node.core.runners.get(runner.name);
    if (known === undefined) throw new Error("the runner is not known");
    await node.clock.advance(1_000);
    known.socketLostMs = node.clock.monotonicMs();
    await node.clock.advance(20_000);
    expect(node.gatewayLink.countOf(gateway.snapshotInstance)).toBe(0);
    await runner.heartbeat();
    await node.clock.advance(3_000);
    expect(node.platform.status(runner.runId)).toBe("SUSPENDED");
  });

  it("for longer than the grace period loses its sleep, and gets it back by its next word", async () => {
    await started();
    const runner = await node.waiting();
    const known = node.core.runners.get(runner.name);
    if (known === undefined) throw new Error("the runner is not known");
    known.socketLostMs = node.clock.monotonicMs();
    await node.clock.advance(60_000);
    expect(node.sleepEvents(runner.runId)).toContain("snapshot.canceled:runner_ended");
    await runner.since();
    await node.clock.advance(6_000);
    expect(node.platform.status(runner.runId)).toBe("SUSPENDED");
  });

  it("and whose wait ended meanwhile is not put to sleep for the old one", async () => {
    await started();
    const runner = await node.waiting();
    const known = node.core.runners.get(runner.name);
    if (known === undefined) throw new Error("the runner is not known");
    known.socketLostMs = node.clock.monotonicMs();
    await node.clock.advance(60_000);
    node.platform.wake(runner.runId);
    await runner.since();
    await runner.heartbeat();
    await node.clock.advance(60_000);
    expect(node.gatewayLink.countOf(gateway.snapshotInstance)).toBe(0);
    node.core.socketHandlers.onBack(known);
    await node.clock.advance(1_000);
    expect(node.sleepEvents(runner.runId)).not.toContain("snapshot.scheduled:heard_again");
  });
});
