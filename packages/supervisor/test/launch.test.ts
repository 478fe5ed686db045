import { gateway, workerActions } from "@torpor/contracts";
import { afterEach, describe, expect, it } from "vitest";
import { TestNode, TestRunner, type NodeOptions } from "./node.ts";

let node: TestNode;
afterEach(() => node.kill());

async function started(options: NodeOptions = {}): Promise<TestNode> {
  node = new TestNode(options);
  return await node.start();
}

async function triggered(advanceMs = 5_000): Promise<string> {
  const runId = node.platform.trigger();
  await node.clock.advance(advanceMs);
  return runId;
}

describe("a fresh run", () => {
  it("gets a sandbox of its name, with everything that the runner needs to begin", async () => {
    await started();
    const runId = await triggered(10);
    const [name = ""] = node.gateway.names();
    expect(name).toBe(`runner-${runId.slice("run_".length)}`);
    expect(node.gateway.instance(name).env).toMatchObject({
      TRIGGER_RUN_ID: runId,
      TRIGGER_SNAPSHOT_ID: node.platform.latest(runId).snapshot.friendlyId,
      TRIGGER_RUNNER_ID: name,
      TRIGGER_SUPERVISOR_API_PORT: "8020",
      TRIGGER_DEPLOYMENT_ID: "deployment_1",
      TRIGGER_SNAPSHOT_POLL_INTERVAL_SECONDS: "2",
    });
  });

  it("is tried again after a 500 or 503, under a new name that the runner knows", async () => {
    await started();
    node.gatewayLink.failNext(gateway.createInstance, { status: 500, code: "sandbox_not_started" }, { status: 503, code: "no_capacity" });
    const runId = await triggered();
    const [name = ""] = node.gateway.names();
    expect(name).toBe(`runner-${runId.slice("run_".length)}-r3`);
    expect(node.gateway.instance(name).env["TRIGGER_RUNNER_ID"]).toBe(name);
  });

  it("keeps its name when the gateway was not reached", async () => {
    await started();
    node.gatewayLink.failNext(gateway.createInstance, "refuse_connection");
    const runId = await triggered();
    expect(node.gateway.names()).toEqual([`runner-${runId.slice("run_".length)}`]);
  });

  it("whose creation may have happened is looked up, never made twice", async () => {
    await started();
    node.gatewayLink.failNext(gateway.createInstance, "lose_reply");
    const runId = await triggered();
    expect(node.gatewayLink.countOf(gateway.createInstance)).toBe(1);
    expect(node.gateway.names().length).toBe(1);
    expect((await new TestRunner(node, runId, node.gateway.names()[0] ?? "").start()).kind).toBe("ok");
  });

  it("whose creation turns out not to have happened is made again", async () => {
    await started();
    node.gatewayLink.failNext(gateway.createInstance, "lose_request");
    await triggered();
    expect(node.gateway.names().length).toBe(1);
  });

  it.each([
    [{ status: 500, code: "sandbox_not_started" } as const, 3, "sandbox_not_started"],
    [{ status: 503, code: "no_capacity" } as const, 3, "no_capacity"],
    [{ status: 400, code: "request_invalid" } as const, 1, "gateway_refused"],
  ])("that cannot be placed (%o) is given back with its reason after %i tries", async (fault, tries, reason) => {
    await started();
    node.gatewayLink.failNext(gateway.createInstance, ...Array.from({ length: tries }, () => fault));
    const runId = await triggered();
    expect(node.platform.run(runId).released).toEqual([reason]);
    expect(node.gateway.names()).toEqual([]);
  });

  it("is given back even when the platform is away at first", async () => {
    await started();
    node.gatewayLink.failNext(gateway.createInstance, { status: 400 });
    node.platformLink.failNext(workerActions.release, "refuse_connection", { status: 503 });
    const runId = await triggered();
    expect(node.platform.run(runId).released).toEqual(["gateway_refused"]);
  });

  it("handed out again under a name that an earlier hand-out left behind: the leftover goes, the run gets another name", async () => {
    await started();
    const runId = await triggered(10);
    const [old = ""] = node.gateway.names();
    node.core.runners.remove(old);
    node.platform.stall(runId);
    await node.clock.advance(2_000);
    expect(node.gateway.names()).toEqual([`${old}-r2`]);
  });

  it("waits for room when the node is full, and is given back when none appears", async () => {
    await started();
    node.gateway.memoryTotalBytes = 1.4 * 1024 ** 3;
    await node.core.room.refresh();
    const runs = [await triggered(100), await triggered(100)];
    expect(node.gateway.names().length).toBe(2);
    const third = node.platform.trigger();
    await node.clock.advance(20_000);
    expect(node.platform.status(third)).toBe("QUEUED");
    node.gateway.exit(node.gateway.names()[0] ?? "", 0);
    await node.clock.advance(5_000);
    expect(node.platform.status(third)).toBe("PENDING_EXECUTING");
    expect(runs.length).toBe(2);
  });

  it("larger than the whole node is tried when the node is empty", async () => {
    await started();
    node.gateway.memoryTotalBytes = 0.2 * 1024 ** 3;
    await node.core.room.refresh();
    await triggered(100);
    expect(node.gateway.names().length).toBe(1);
  });
});

describe("a sleeping run", () => {
  it("whose memory image is gone or does not match is failed with that reason, and starts over", async () => {
    for (const [code, status, reason] of [["memory_image_gone", 404, "memory_image_gone"], ["memory_image_refused", 422, "memory_image_refused"]] as const) {
      await started();
      const runner = await node.asleep();
      node.gatewayLink.failNext(gateway.restoreSnapshot, { status, code });
      node.platform.wake(runner.runId);
      await node.clock.advance(2_000);
      expect(node.platform.run(runner.runId).restoreOutcomes).toEqual([{ outcome: "fail", reason }]);
      node.kill();
    }
  });

  it("for which there is no room at the gateway is put back, its image kept", async () => {
    await started();
    const runner = await node.asleep();
    node.gatewayLink.failNext(gateway.restoreSnapshot, ...Array.from({ length: 3 }, () => ({ status: 503, code: "no_capacity" }) as const));
    node.platform.wake(runner.runId);
    await node.clock.advance(5_000);
    expect(node.platform.run(runner.runId).restoreOutcomes).toEqual([{ outcome: "requeue", reason: "no_capacity" }]);
    expect(node.gateway.images.size).toBe(1);
    node.platform.offerAgain(runner.runId);
    await node.clock.advance(2_000);
    expect(node.platform.status(runner.runId)).toBe("EXECUTING");
  });

  it("handed out twice with the same checkpoint never gets the same runner name", async () => {
    await started();
    const runner = await node.asleep();
    node.gatewayLink.failNext(gateway.restoreSnapshot, ...Array.from({ length: 3 }, () => ({ status: 503, code: "no_capacity" }) as const));
    node.platform.wake(runner.runId);
    await node.clock.advance(5_000);
    node.platform.offerAgain(runner.runId);
    await node.clock.advance(2_000);
    const names = node.gatewayLink.callsOf(gateway.restoreSnapshot).map(({ body }) => (body as { name: string }).name);
    expect(names.at(-1)).not.toBe(names[0]);
    expect(names).not.toContain(runner.name);
  });

  it("whose restore may have happened is looked up, and goes on", async () => {
    await started();
    const runner = await node.asleep();
    node.gatewayLink.failNext(gateway.restoreSnapshot, "lose_reply");
    node.platform.wake(runner.runId);
    await node.clock.advance(2_000);
    expect(node.gatewayLink.countOf(gateway.restoreSnapshot)).toBe(1);
    expect(node.platform.status(runner.runId)).toBe("EXECUTING");
  });

  it("wakes the long way when we cannot continue it: its runner does, once, and is told at once", async () => {
    await started();
    const runner = await node.asleep();
    node.platformLink.failNext(workerActions.continueRun, ...Array.from({ length: 4 }, () => ({ status: 503 })));
    node.platform.wake(runner.runId);
    await node.clock.advance(5_000);
    expect(await runner.since()).toEqual(["PENDING_EXECUTING"]);
    expect((await runner.continue()).kind).toBe("ok");
    expect(await runner.since()).toEqual(["EXECUTING"]);
  });

  it("a runner that says continue after we did is answered as if it had been first", async () => {
    await started();
    const runner = await node.asleep();
    node.platform.wake(runner.runId);
    await node.clock.advance(500);
    const handedOutAt = node.platform.run(runner.runId).history.at(-2)?.snapshot.friendlyId ?? "";
    runner.claim = node.gateway.names()[0] ?? "";
    expect(await runner.continue(handedOutAt)).toMatchObject({ kind: "ok", body: { snapshot: { executionStatus: "EXECUTING" } } });
    expect(node.platform.statuses(runner.runId).filter((status) => status === "EXECUTING").length).toBe(2);
  });

  it("a first look that comes before our continue is answered waits for it", async () => {
    await started();
    const runner = await node.asleep();
    const held = Promise.withResolvers<void>();
    node.platformLink.failNext(workerActions.continueRun, { hold: held.promise });
    node.platform.wake(runner.runId);
    await node.clock.advance(100);
    const looked = runner.since();
    await node.clock.advance(500);
    held.resolve();
    await node.clock.advance(10);
    expect(await looked).toEqual(["EXECUTING"]);
  });

  it("taken from us while it was being restored: the restored sandbox is destroyed", async () => {
    await started();
    const runner = await node.asleep();
    const held = Promise.withResolvers<void>();
    node.platformLink.failNext(workerActions.continueRun, { hold: held.promise });
    node.platform.wake(runner.runId);
    await node.clock.advance(100);
    const [name = ""] = node.gateway.names();
    await node.core.consumers.drain;
    node.platform.run(runner.runId).history.push({ ...node.platform.latest(runner.runId), snapshot: { ...node.platform.latest(runner.runId).snapshot, friendlyId: "snapshot_9999999999", executionStatus: "FINISHED" } });
    held.resolve();
    await node.clock.advance(100);
    expect(node.gateway.names()).not.toContain(name);
  });

  it("cancelled while it was being restored: the sandbox stays, and its runner confirms", async () => {
    await started();
    const runner = await node.asleep();
    const held = Promise.withResolvers<void>();
    node.platformLink.failNext(workerActions.continueRun, { hold: held.promise });
    node.platform.wake(runner.runId);
    await node.clock.advance(100);
    node.platform.cancel(runner.runId);
    held.resolve();
    await node.clock.advance(100);
    expect(node.gateway.names().length).toBe(1);
    expect(await runner.since()).toEqual(["PENDING_CANCEL"]);
  });

  it("cancelled while asleep: its image is swept (L7)", async () => {
    await started();
    const runner = await node.asleep();
    node.platform.cancel(runner.runId);
    await node.clock.advance(61_000);
    await node.core.sweeper.sweep();
    expect(node.gateway.images.size).toBe(0);
  });

  it("the image of a run that still sleeps is never swept, and none is when the platform cannot be asked", async () => {
    await started();
    const runner = await node.asleep();
    await node.clock.advance(3_600_000);
    await node.core.sweeper.sweep();
    expect(node.gateway.images.size).toBe(1);
    node.platform.cancel(runner.runId);
    node.platformLink.down = true;
    await node.core.sweeper.sweep();
    expect(node.gateway.images.size).toBe(1);
  });
});

describe("a runner that dies", () => {
  it("before it has started the run: the run is given back at once", async () => {
    await started();
    const runId = await triggered(10);
    node.gateway.exit(node.gateway.names()[0] ?? "", 1);
    await node.clock.advance(100);
    expect(node.platform.run(runId).released).toEqual(["runner_ended_before_start"]);
  });

  it.each([
    [1, "exited", "TASK_PROCESS_EXITED_WITH_NON_ZERO_CODE"],
    [0, "exited", "TASK_PROCESS_EXITED_WITH_NON_ZERO_CODE"],
    [137, "killed: out of memory", "TASK_PROCESS_OOM_KILLED"],
    [139, "exited", "TASK_PROCESS_SIGSEGV"],
  ])("while it executes (exit code %s, %s): its attempt fails with %s at once, to be retried by the task's own policy", async (exitCode, reason, code) => {
    await started();
    const runner = await node.executing();
    node.gateway.exit(runner.name, exitCode, reason);
    await node.clock.advance(100);
    expect(node.platform.run(runner.runId).completions).toMatchObject([{ ok: false, error: { type: "INTERNAL_ERROR", code } }]);
  });

  it("while it waits, and while the platform is away: it is told when the platform is back", async () => {
    await started();
    const runner = await node.waiting();
    node.platformLink.down = true;
    node.gateway.exit(runner.name, 1);
    await node.clock.advance(30_000);
    node.platformLink.down = false;
    await node.clock.advance(5_000);
    expect(node.platform.run(runner.runId).completions.length).toBe(1);
  });

  it("after its cancel was asked for: the cancel is confirmed for it", async () => {
    await started();
    const runner = await node.executing();
    node.platform.cancel(runner.runId);
    node.gateway.exit(runner.name, 1);
    await node.clock.advance(100);
    expect(node.platform.run(runner.runId).completions).toMatchObject([{ ok: false, error: { code: "TASK_RUN_CANCELLED" } }]);
  });

  it("after it has completed: nothing is told, and the instance is deleted", async () => {
    await started();
    const runner = await node.executing();
    await runner.complete();
    node.gateway.exit(runner.name, 0);
    await node.clock.advance(100);
    expect(node.platform.run(runner.runId).completions.length).toBe(1);
    expect(node.gateway.log).toContain(`delete ${runner.name}`);
  });

  it("after the run was given to another attempt elsewhere: that attempt is not touched", async () => {
    await started();
    const runner = await node.executing();
    node.platform.run(runner.runId).attemptNumber = 2;
    node.platform.run(runner.runId).history.push({ ...node.platform.latest(runner.runId), run: { ...node.platform.latest(runner.runId).run, attemptNumber: 2 } });
    node.gateway.exit(runner.name, 1);
    await node.clock.advance(100);
    expect(node.platform.run(runner.runId).completions).toEqual([]);
  });

  it("whose end nobody told is missed at the next look", async () => {
    await started();
    const runner = await node.executing();
    node.gateway.instances.delete(runner.name);
    await node.clock.advance(40_000);
    await node.core.caretaker.look();
    await node.clock.advance(100);
    expect(node.platform.run(runner.runId).completions.length).toBe(1);
  });

  it("after its restore and before the run went on: the restore is reported as failed", async () => {
    await started();
    const runner = await node.asleep();
    node.platformLink.failNext(workerActions.continueRun, ...Array.from({ length: 4 }, () => ({ status: 503 })));
    node.platform.wake(runner.runId);
    await node.clock.advance(5_000);
    node.gateway.exit(node.gateway.names()[0] ?? "", 128);
    await node.clock.advance(500);
    expect(node.platform.run(runner.runId).restoreOutcomes).toEqual([{ outcome: "fail", reason: "runner_ended_after_restore" }]);
  });
});

describe("a run that has left its runner", () => {
  it("slept and woke on another node: the original, thawed by accident, may leave or die without harming it", async () => {
    await started();
    const runner = await node.waiting();
    const { runId } = runner;
    // Accepted, unknown to this node, and executed elsewhere under the same attempt number.
    await node.platformLink.call(workerActions.completeSuspension, { params: { runId, snapshotId: runner.snapshotId }, body: { success: true, checkpoint: { type: "COMPUTE", location: "mem_elsewhere0" } } });
    void node.core.consumers.drain();
    await node.clock.advance(2_000);
    node.platform.wake(runId);
    await node.platformLink.call(workerActions.dequeue, { body: {} });
    await node.platformLink.call(workerActions.continueRun, { params: { runId, snapshotId: node.platform.latest(runId).snapshot.friendlyId } });
    expect(node.platform.status(runId)).toBe("EXECUTING");
    node.gateway.exit(runner.name, 0);
    await node.clock.advance(1_000);
    expect(node.platform.run(runId).completions).toEqual([]);
    expect(node.platform.status(runId)).toBe("EXECUTING");
  });
});
