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

describe("a run that is cancelled while its runner begins an attempt", () => {
  it("is told of only when the runner has taken in the answer to its start, since it hears nothing before", async () => {
    await started();
    const runner = await node.executing();
    node.platform.cancel(runner.runId);
    const told = runner.since();
    expect(await isAnswered(told)).toBe(false);
    await node.clock.advance(1_000);
    expect(await told).toEqual(["PENDING_CANCEL"]);
  });

  it("is not told of while that answer is still on its way: the runner asks again", async () => {
    await started();
    const runner = await node.executing();
    await node.clock.advance(2_000);
    const held = Promise.withResolvers<void>();
    node.platformLink.failNext(workerActions.startAttempt, { hold: held.promise });
    const answer = runner.start();
    node.platform.cancel(runner.runId);
    const told = runner.since();
    await node.clock.advance(4_900);
    expect(await isAnswered(told)).toBe(false);
    await node.clock.advance(200);
    expect(await told).toEqual([]);
    held.resolve();
    await answer;
    await node.clock.advance(1_000);
    expect(await runner.since()).toEqual(["PENDING_CANCEL"]);
  });

  it("is told of at once later on", async () => {
    await started();
    const runner = await node.executing();
    await node.clock.advance(1_000);
    node.platform.cancel(runner.runId);
    expect(await isAnswered(runner.since())).toBe(true);
  });
});

async function isAnswered(call: Promise<unknown>): Promise<boolean> {
  let answered = false;
  void call.then(() => (answered = true));
  await node.clock.advance(1);
  return answered;
}

async function restartedRunner(runId: string): Promise<TestRunner> {
  const name = node.gateway.names().at(-1) ?? "";
  const runner = new TestRunner(node, runId, name);
  await runner.start();
  return runner;
}
