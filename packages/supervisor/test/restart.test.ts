import { workerActions, gateway } from "@torpor/contracts";
import { afterEach, describe, expect, it } from "vitest";
import { TestNode, TestRunner, type NodeOptions } from "./node.ts";

let node: TestNode;
afterEach(() => node.kill());

async function started(options: NodeOptions = {}): Promise<TestNode> {
  node = new TestNode(options);
  return await node.start();
}

describe("the supervisor is killed and started again", () => {
  it("while a run executes: its runner is known again and finishes", async () => {
    await started();
    const runner = await node.executing();
    await node.restart();
    expect([...node.subscribed]).toEqual([runner.runId]);
    await runner.complete();
    expect(node.platform.status(runner.runId)).toBe("FINISHED");
  });

  it("and a runner ended meanwhile: its run is told lost at once, as its sandbox's notes say whose it was", async () => {
    await started();
    const [runner, finished] = [await node.executing(), await node.executing()];
    await finished.complete();
    const runId = node.platform.trigger();
    await node.clock.advance(10);
    node.kill();
    for (const name of node.gateway.names()) node.gateway.exit(name, 137, "out_of_memory");
    await node.start();
    await node.clock.advance(500);
    expect(node.platform.run(runner.runId).completions).toMatchObject([{ ok: false, error: { code: "TASK_PROCESS_OOM_KILLED" } }]);
    expect(node.platform.run(runId).released).toEqual(["runner_ended_before_start"]);
    expect(node.platform.run(finished.runId).completions).toHaveLength(1);
    expect(node.gateway.endedNames()).toEqual([]);
  });

  it("and a runner ended meanwhile whose run another has got since: nothing is told", async () => {
    await started();
    const { runId, name, snapshotId } = await node.waiting();
    node.kill();
    node.gateway.exit(name, 1);
    const checkpoint = { type: "COMPUTE" as const, location: "mem_elsewhere0" };
    await node.platformLink.call(workerActions.completeSuspension, { params: { runId, snapshotId }, body: { success: true, checkpoint } });
    node.platform.wake(runId);
    await node.platformLink.call(workerActions.dequeue, { body: {} });
    const handedOut = node.platform.latest(runId).snapshot.friendlyId;
    await node.platformLink.call(workerActions.continueRun, { params: { runId, snapshotId: handedOut } });
    await node.start();
    await node.clock.advance(500);
    expect(node.platform.status(runId)).toBe("EXECUTING");
    expect(node.platform.run(runId)).toMatchObject({ completions: [], restoreOutcomes: [] });
    expect(node.gateway.endedNames()).toEqual([]);
  });

  it("while a sleep is pending: it is armed again by the waiting runner's polls, and no run stays awake for ever", async () => {
    await started();
    const runner = await node.waiting();
    await node.clock.advance(1_000);
    await node.restart();
    for (let poll = 0; poll < 12; poll++) {
      await runner.since();
      await node.clock.advance(1_000);
    }
    await node.clock.advance(6_000);
    expect(node.platform.status(runner.runId)).toBe("SUSPENDED");
  });

  it("a runner that has not asked to sleep yet is given the time to ask before it is taken for one that was forgotten", async () => {
    await started();
    const runner = await node.executing();
    runner.snapshotId = node.platform.block(runner.runId);
    await node.restart();
    for (let poll = 0; poll < 9; poll++) {
      await runner.since();
      await node.clock.advance(1_000);
    }
    expect(node.platform.status(runner.runId)).toBe("EXECUTING_WITH_WAITPOINTS");
    expect(node.sleepEvents(runner.runId)).toEqual([]);
  });

  it("a runner whose wish to sleep was lost on the way sleeps all the same (L3)", async () => {
    await started();
    const runner = await node.executing();
    runner.snapshotId = node.platform.block(runner.runId);
    for (let poll = 0; poll < 12; poll++) {
      await runner.since();
      await node.clock.advance(1_000);
    }
    await node.clock.advance(60_000);
    expect(node.platform.status(runner.runId)).toBe("SUSPENDED");
  });

  it("a run whose wait ends just as it would be armed again is not armed", async () => {
    await started();
    const runner = await node.waiting();
    await node.restart();
    const known = node.core.runners.get(runner.name);
    if (known === undefined) throw new Error("the runner is not known");
    node.platform.onNotify = () => {};
    node.core.rearm.stillAt(known, runner.runId, runner.snapshotId);
    await node.clock.advance(10_000);
    node.platform.wake(runner.runId);
    node.core.rearm.stillAt(known, runner.runId, runner.snapshotId);
    await node.clock.advance(1_000);
    expect(node.core.intents.of(runner.runId)).toBeUndefined();
    expect(node.sleepEvents(runner.runId)).not.toContain("snapshot.scheduled:rearmed");
  });

  it("while the memory is being written: it is thawed, and put to sleep again", async () => {
    await started();
    node.gateway.autoFinish = false;
    const runner = await node.waiting();
    await node.clock.advance(6_000);
    expect(node.gateway.instance(runner.name).state).toBe("freezing");
    await node.restart();
    expect(node.gateway.instance(runner.name).state).toBe("running");
    node.gateway.autoFinish = true;
    for (let poll = 0; poll < 12; poll++) {
      await runner.since();
      await node.clock.advance(1_000);
    }
    await node.clock.advance(6_000);
    expect(node.platform.status(runner.runId)).toBe("SUSPENDED");
    expect(node.gateway.images.size).toBe(1);
  });

  it("while it is held and not reported: the report is made by the next one", async () => {
    await started();
    const runner = await node.waiting();
    node.platformLink.failNext(workerActions.completeSuspension, { hold: new Promise(() => {}) });
    await node.clock.advance(6_000);
    expect(node.gateway.instance(runner.name).state).toBe("held");
    await node.restart();
    await node.clock.advance(500);
    expect(node.platform.status(runner.runId)).toBe("SUSPENDED");
    expect(node.gateway.names()).toEqual([]);
    node.platform.wake(runner.runId);
    await node.clock.advance(500);
    expect(node.platform.status(runner.runId)).toBe("EXECUTING");
  });

  it("after the platform has accepted and before the sandbox is destroyed: it is destroyed, and the run wakes once", async () => {
    await started();
    const runner = await node.waiting();
    node.gatewayLink.failNext(gateway.commitSnapshot, { hold: new Promise(() => {}) });
    await node.clock.advance(6_000);
    expect(node.platform.status(runner.runId)).toBe("SUSPENDED");
    expect(node.gateway.instance(runner.name).state).toBe("held");
    await node.restart();
    await node.clock.advance(500);
    expect(node.gateway.names()).toEqual([]);
    node.platform.wake(runner.runId);
    await node.clock.advance(500);
    expect(node.platform.status(runner.runId)).toBe("EXECUTING");
    expect(node.gateway.names().length).toBe(1);
  });

  it("after the wait has ended under a held sandbox: it is thawed and goes on", async () => {
    await started();
    const runner = await node.waiting();
    node.platformLink.failNext(workerActions.completeSuspension, { hold: new Promise(() => {}) });
    await node.clock.advance(6_000);
    node.kill();
    node.platform.wake(runner.runId);
    await node.restart();
    expect(node.gateway.instance(runner.name).state).toBe("running");
    expect(await runner.since()).toEqual(["EXECUTING"]);
  });

  it("after a restore: the runner still gets the latest snapshot alone, and its first name is still understood", async () => {
    await started({ addresses: true });
    const runner = await node.asleep();
    node.platform.wake(runner.runId);
    await node.clock.advance(500);
    await node.restart();
    runner.remoteAddress = node.gateway.instance(node.gateway.names()[0] ?? "").address ?? "";
    expect(await runner.since()).toEqual(["EXECUTING"]);
  });

  it("after a restore, and its runner speaks while the gateway is away: it is not shown that it slept, and gets the latest snapshot when it is found", async () => {
    await started({ addresses: true });
    const runner = await node.asleep();
    node.platform.wake(runner.runId);
    await node.clock.advance(500);
    node.kill();
    node.gatewayLink.down = true;
    runner.remoteAddress = node.gateway.instance(node.gateway.names()[0] ?? "").address ?? "";
    expect(await runner.since()).toEqual([]);
    node.gatewayLink.down = false;
    expect(await runner.since()).toEqual(["EXECUTING"]);
    expect(await runner.since()).toEqual([]);
    expect(node.core.runners.holderOf(runner.runId)?.name).toBe(node.gateway.names()[0]);
  });

  it("a runner that fell due to sleep before its sandbox was found is not frozen amid a request when it is found (L1)", async () => {
    await started();
    const runner = await node.waiting();
    node.gatewayLink.failNext(gateway.listInstances, "refuse_connection");
    await node.restart();
    await runner.suspend();
    const answered = node.core.trackRequest({ "x-trigger-workload-runner-id": runner.claim }, runner.remoteAddress);
    await node.clock.advance(6_000);
    await node.core.caretaker.look();
    await node.clock.advance(1_000);
    expect(node.gatewayLink.countOf(gateway.snapshotInstance)).toBe(0);
    answered();
    await node.clock.advance(1_000);
    expect(node.platform.status(runner.runId)).toBe("SUSPENDED");
  });

  it("a runner that began its attempt while its sandbox was found and then ends: its run is told lost at once", async () => {
    await started();
    const before = node.gateway.names();
    const runId = node.platform.trigger();
    await node.clock.advance(10);
    const name = node.gateway.names().find((one) => !before.includes(one)) ?? "";
    node.kill();
    const accepted = Promise.withResolvers<void>();
    node.platformLink.failNext(workerActions.startAttempt, { hold: accepted.promise });
    const begun = new TestRunner(node, runId, name).start();
    await node.clock.advance(10);
    await node.start();
    accepted.resolve();
    await node.clock.advance(10);
    expect(await begun).toMatchObject({ kind: "ok" });
    node.gateway.exit(name, 137, "out_of_memory");
    await node.clock.advance(500);
    expect(node.platform.run(runId).completions).toMatchObject([{ ok: false, error: { code: "TASK_PROCESS_OOM_KILLED" } }]);
  });

  it("a sandbox of a run that the platform does not know is removed", async () => {
    await started();
    const runner = await node.executing();
    node.platform.runs.delete(runner.runId);
    await node.restart();
    expect(node.gateway.names()).toEqual([]);
  });

  it("a callback of before the restart is acknowledged and changes nothing", async () => {
    await started();
    node.gateway.autoFinish = false;
    const runner = await node.waiting();
    await node.clock.advance(6_000);
    const instance = node.gateway.instance(runner.name);
    node.kill();
    node.core.callbacks.receive({ status: "failed", instance_id: instance.id });
    await node.restart();
    await node.gateway.finish(runner.name);
    expect(node.gateway.callbackStatuses.at(-1)).toBe(200);
    await node.clock.advance(1_000);
    expect(node.platform.status(runner.runId)).toBe("EXECUTING_WITH_WAITPOINTS");
  });
});

describe("SIGTERM drains", () => {
  it("pending sleeps are cancelled with their reason and nothing is frozen", async () => {
    await started();
    const runner = await node.waiting();
    node.core.state.draining = true;
    await node.core.intents.drain();
    await node.clock.advance(10_000);
    expect(node.gatewayLink.countOf(gateway.snapshotInstance)).toBe(0);
    expect(node.sleepEvents(runner.runId)).toContain("snapshot.canceled:shutdown");
  });

  it("a sandbox whose memory is being written is thawed", async () => {
    await started();
    node.gateway.autoFinish = false;
    const runner = await node.waiting();
    await node.clock.advance(6_000);
    await node.core.intents.drain();
    expect(node.gateway.instance(runner.name).state).toBe("running");
  });

  it("a held one is decided before it ends", async () => {
    await started();
    const runner = await node.waiting();
    const held = Promise.withResolvers<void>();
    node.platformLink.failNext(workerActions.completeSuspension, { hold: held.promise });
    await node.clock.advance(6_000);
    const drained = node.core.intents.drain();
    held.resolve();
    await node.clock.advance(100);
    await drained;
    expect(node.platform.status(runner.runId)).toBe("SUSPENDED");
    expect(node.gateway.names()).toEqual([]);
  });

  it("a run that is handed out meanwhile is given back", async () => {
    await started();
    node.core.state.draining = true;
    const runId = node.platform.trigger();
    await node.clock.advance(100);
    expect(node.platform.run(runId).released).toEqual(["draining"]);
  });

  it("asks for no more runs", async () => {
    await started();
    const drained = node.core.consumers.drain();
    await node.clock.advance(2_000);
    await drained;
    const polls = node.platformLink.countOf(workerActions.dequeue);
    const runId = node.platform.trigger();
    await node.clock.advance(10_000);
    expect(node.platformLink.countOf(workerActions.dequeue)).toBe(polls);
    expect(node.platform.status(runId)).toBe("QUEUED");
  });
});
