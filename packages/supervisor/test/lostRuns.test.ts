import { gateway, workerActions } from "@torpor/contracts";
import { afterEach, describe, expect, it } from "vitest";
import { TestNode, type NodeOptions } from "./node.ts";

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
    [null, "out_of_memory", "TASK_PROCESS_OOM_KILLED"],
    [139, "exited", "TASK_PROCESS_SIGSEGV"],
  ])(
    "while it executes (exit code %s, %s): its attempt fails with %s at once, to be retried by the task's own policy",
    async (exitCode, reason, code) => {
      await started();
      const runner = await node.executing();
      node.gateway.exit(runner.name, exitCode, reason);
      await node.clock.advance(100);
      expect(node.platform.run(runner.runId).completions).toMatchObject([{ ok: false, error: { type: "INTERNAL_ERROR", code } }]);
    },
  );

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

  it("and whose run moves on between the look at it and the report: it is looked at again, and reported as it is then", async () => {
    await started();
    const runner = await node.waiting();
    const held = Promise.withResolvers<void>();
    node.platformLink.failNext(workerActions.completeAttempt, { hold: held.promise });
    node.gateway.exit(runner.name, 1);
    await node.clock.advance(10);
    node.platform.wake(runner.runId);
    held.resolve();
    await node.clock.advance(100);
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
    node.platform
      .run(runner.runId)
      .history.push({ ...node.platform.latest(runner.runId), run: { ...node.platform.latest(runner.runId).run, attemptNumber: 2 } });
    node.gateway.exit(runner.name, 1);
    await node.clock.advance(100);
    expect(node.platform.run(runner.runId).completions).toEqual([]);
  });

  it("while its memory is being written: the attempt fails as soon as the gateway says that the memory is lost", async () => {
    await started();
    node.gateway.autoFinish = false;
    const runner = await node.waiting();
    await node.clock.advance(6_000);
    await node.gateway.die(runner.name, "sandbox_gone");
    await node.clock.advance(500);
    expect(node.platform.run(runner.runId).completions).toMatchObject([{ ok: false }]);
    expect(node.gateway.images.size).toBe(0);
  });

  it("after its memory was written and before that was told here: it sleeps, and wakes to the very line", async () => {
    await started();
    node.gateway.autoFinish = false;
    const runner = await node.waiting();
    await node.clock.advance(6_000);
    const finished = node.gateway.finishLate(runner.name);
    node.gateway.announceExit(runner.name, 137, "killed");
    await node.clock.advance(100);
    await finished();
    await node.clock.advance(500);
    expect(node.platform.status(runner.runId)).toBe("SUSPENDED");
    expect(node.platform.run(runner.runId).completions).toEqual([]);
    node.platform.wake(runner.runId);
    await node.clock.advance(500);
    expect(node.platform.status(runner.runId)).toBe("EXECUTING");
  });

  it("its name is freed before the run is told of: a sandbox of the same name that follows at once is not deleted", async () => {
    await started();
    const runId = await triggered(10);
    const [name = ""] = node.gateway.names();
    const held = Promise.withResolvers<void>();
    node.gatewayLink.failNext(gateway.deleteInstance, { hold: held.promise });
    node.gateway.exit(name, 1);
    await node.clock.advance(100);
    expect(node.platform.run(runId).released).toEqual([]);
    held.resolve();
    await node.clock.advance(10);
    node.platform.offerAgain(runId);
    await node.clock.advance(500);
    expect(node.gateway.names()).toEqual([name]);
  });

  it("and whose run another runner here has got meanwhile: nothing is told", async () => {
    await started();
    const runner = await node.executing();
    const other = await node.executing();
    const held = Promise.withResolvers<void>();
    node.platformLink.failNext(workerActions.latestSnapshot, { hold: held.promise });
    node.gateway.exit(runner.name, 1);
    await node.clock.advance(10);
    const known = node.core.runners.get(other.name);
    if (known === undefined) throw new Error("the runner is not known");
    node.core.runners.take(known, runner.runId);
    held.resolve();
    await node.clock.advance(1_000);
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
    await node.platformLink.call(workerActions.completeSuspension, {
      params: { runId, snapshotId: runner.snapshotId },
      body: { success: true, checkpoint: { type: "COMPUTE", location: "mem_elsewhere0" } },
    });
    void node.core.consumers.drain();
    await node.clock.advance(2_000);
    node.platform.wake(runId);
    await node.platformLink.call(workerActions.dequeue, { body: {} });
    await node.platformLink.call(workerActions.continueRun, {
      params: { runId, snapshotId: node.platform.latest(runId).snapshot.friendlyId },
    });
    expect(node.platform.status(runId)).toBe("EXECUTING");
    node.gateway.exit(runner.name, 0);
    await node.clock.advance(1_000);
    expect(node.platform.run(runId).completions).toEqual([]);
    expect(node.platform.status(runId)).toBe("EXECUTING");
  });
});
