import { gateway, workerActions, workload } from "@torpor/contracts";
import { afterEach, describe, expect, it } from "vitest";
import { TestNode, TestRunner, type NodeOptions } from "./node.ts";

let node: TestNode;
afterEach(() => node.kill());

async function started(options: NodeOptions = {}): Promise<TestNode> {
  node = new TestNode(options);
  return await node.start();
}

describe("who may cancel a sleep", () => {
  it.each([
    ["continue", "continued"],
    ["start", "started"],
    ["complete", "completed"],
  ] as const)("the runner's own %s", async (action, reason) => {
    await started();
    const runner = await node.waiting();
    await runner[action]();
    await node.clock.advance(8_000);
    expect(node.gatewayLink.countOf(gateway.snapshotInstance)).toBe(0);
    expect(node.sleepEvents(runner.runId)).toContain(`snapshot.canceled:${reason}`);
  });

  it("its completion cancels it before the call is passed on", async () => {
    await started();
    const runner = await node.waiting();
    let stateWhenPassedOn: string | undefined = "never passed on";
    const held = Promise.withResolvers<void>();
    node.platformLink.failNext(workerActions.completeAttempt, { hold: held.promise });
    const answered = runner.complete();
    await node.clock.advance(1);
    stateWhenPassedOn = node.core.intents.of(runner.runId)?.state;
    held.resolve();
    await answered;
    expect(stateWhenPassedOn).toBeUndefined();
  });

  it("not a stale runner that the run was taken from (L2)", async () => {
    await started();
    const stale = await node.executing();
    node.platform.stall(stale.runId);
    await node.clock.advance(100);
    const fresh = await restartedRunner(stale.runId);
    fresh.snapshotId = node.platform.block(fresh.runId);
    await fresh.suspend();
    await stale.continue();
    await stale.complete();
    await stale.heartbeat();
    expect(node.core.intents.of(fresh.runId)?.runnerId).toBe(fresh.name);
    await node.clock.advance(6_000);
    expect(node.platform.status(fresh.runId)).toBe("SUSPENDED");
  });

  it("not one that lost the run and is still passed on, to learn so", async () => {
    await started();
    const stale = await node.executing();
    const fresh = await node.executing();
    const known = node.core.runners.get(fresh.name);
    if (known === undefined) throw new Error("the runner is not known");
    node.core.runners.take(known, stale.runId);
    const holder = new TestRunner(node, stale.runId, fresh.name);
    const waitsAt = node.platform.block(stale.runId);
    holder.snapshotId = waitsAt;
    await holder.suspend();
    // Whatever it believes by now
    for (const snapshotId of [stale.snapshotId, waitsAt]) {
      await stale.continue(snapshotId);
      await stale.complete();
    }
    expect(node.core.intents.of(stale.runId)).toMatchObject({ runnerId: fresh.name, snapshotId: waitsAt });
  });

  it("not its own call about an earlier wait, that was long on its way", async () => {
    await started();
    const runner = await node.waiting();
    const earlier = runner.snapshotId;
    runner.snapshotId = node.platform.block(runner.runId);
    await runner.suspend();
    const later = runner.snapshotId;
    await runner.continue(earlier);
    expect(node.core.intents.of(runner.runId)?.snapshotId).toBe(later);
  });

  it("a caller so old that it does not say who it is", async () => {
    await started();
    const runner = await node.waiting();
    await runner.call(workload.continueRun, undefined, { withId: false });
    expect(node.core.intents.of(runner.runId)).toBeUndefined();
  });

  it("the runner's end, in every stage", async () => {
    await started();
    const runner = await node.waiting();
    node.gateway.exit(runner.name, 137, "killed");
    await node.clock.advance(8_000);
    expect(node.gatewayLink.countOf(gateway.snapshotInstance)).toBe(0);
    expect(node.sleepEvents(runner.runId)).toContain("snapshot.canceled:runner_ended");
  });

  it("the run's hand-out to another runner", async () => {
    await started();
    const runner = await node.waiting();
    node.platform.stall(runner.runId);
    await node.clock.advance(8_000);
    expect(node.gatewayLink.countOf(gateway.snapshotInstance)).toBe(0);
    expect(node.sleepEvents(runner.runId)).toContain("snapshot.canceled:reassigned");
    expect(node.gateway.names()).not.toContain(runner.name);
  });
});

async function restartedRunner(runId: string): Promise<TestRunner> {
  const name = node.gateway.names().at(-1) ?? "";
  const runner = new TestRunner(node, runId, name);
  await runner.start();
  return runner;
}
