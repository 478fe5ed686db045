import { gateway, workerActions } from "@torpor/contracts";
import { afterEach, describe, expect, it } from "vitest";
import { TestNode, type NodeOptions } from "./node.ts";

let node: TestNode;
afterEach(() => node.kill());

async function started(options: NodeOptions = {}): Promise<TestNode> {
  node = new TestNode(options);
  return await node.start();
}

describe("the platform is lost while a run falls asleep", () => {
  it("before the look at it: nothing is frozen, and it is tried again later", async () => {
    await started();
    const runner = await node.waiting();
    node.platformLink.down = true;
    await node.clock.advance(6_000);
    expect(node.gatewayLink.countOf(gateway.snapshotInstance)).toBe(0);
    node.platformLink.down = false;
    await node.clock.advance(20_000);
    expect(node.platform.status(runner.runId)).toBe("SUSPENDED");
  });

  it("the answer to the report is lost: its latest word is read, and the sandbox is destroyed once", async () => {
    await started();
    const runner = await node.waiting();
    node.platformLink.failNext(workerActions.completeSuspension, "lose_reply");
    await node.clock.advance(6_500);
    expect(node.platform.statuses(runner.runId).filter((status) => status === "SUSPENDED").length).toBe(1);
    expect(node.gateway.names()).toEqual([]);
    expect(node.gateway.images.size).toBe(1);
  });

  it("the answer to the report is lost and so is the look: it stays frozen, neither destroyed nor thawed, until the platform is back", async () => {
    await started();
    const runner = await node.waiting();
    const outage = Array.from({ length: 6 }, () => ({ status: 503 }));
    node.platformLink.failNext(workerActions.completeSuspension, "lose_reply", ...outage);
    node.platformLink.failNext(workerActions.latestSnapshot, "pass", ...outage);
    await node.clock.advance(7_000);
    expect(node.gateway.instance(runner.name).state).toBe("held");
    await node.clock.advance(20_000);
    expect(node.platform.statuses(runner.runId).filter((status) => status === "SUSPENDED").length).toBe(1);
    expect(node.gateway.names()).toEqual([]);
  });

  it("for as long as the gateway holds: thawed, files deleted, and put to sleep later", async () => {
    await started({ env: { TORPOR_SNAPSHOT_HOLD_MS: "20000" } });
    const runner = await node.waiting();
    const outage = Array.from({ length: 40 }, () => "lose_request" as const);
    node.platformLink.failNext(workerActions.completeSuspension, ...outage.slice(0, 12));
    node.platformLink.failNext(workerActions.latestSnapshot, "pass", ...outage.slice(0, 12));
    await node.clock.advance(20_000);
    expect(node.gateway.instance(runner.name).state).toBe("held");
    await node.clock.advance(7_000);
    expect(node.gateway.instance(runner.name).state).toBe("running");
    expect(node.gateway.images.size).toBe(0);
    expect(node.sleepEvents(runner.runId)).toContain("snapshot.failed:outcome_unknown");
    await node.clock.advance(60_000);
    expect(node.platform.status(runner.runId)).toBe("SUSPENDED");
  });

  it("and was never reached with the report: thawed when the gateway's patience ends", async () => {
    await started({ env: { TORPOR_SNAPSHOT_HOLD_MS: "20000" } });
    const runner = await node.waiting();
    node.platformLink.failNext(workerActions.completeSuspension, ...Array.from({ length: 12 }, () => "refuse_connection" as const));
    await node.clock.advance(27_000);
    expect(node.gateway.instance(runner.name).state).toBe("running");
    expect(node.sleepEvents(runner.runId)).toContain("snapshot.failed:platform_unreachable");
  });

  it("an answer to the report that cannot be understood is no refusal: the latest word counts", async () => {
    await started();
    const runner = await node.waiting();
    node.platformLink.failNext(workerActions.completeSuspension, "garble");
    await node.clock.advance(6_500);
    expect(node.platform.status(runner.runId)).toBe("SUSPENDED");
    expect(node.gateway.names()).toEqual([]);
  });

  it("a repeated report that is refused after the first was accepted does not thaw a sleeping run", async () => {
    await started();
    const runner = await node.waiting();
    node.platformLink.failNext(workerActions.completeSuspension, "lose_reply");
    node.platformLink.failNext(workerActions.latestSnapshot, "pass", { status: 503 });
    await node.clock.advance(8_000);
    expect(node.platformLink.countOf(workerActions.completeSuspension)).toBeGreaterThanOrEqual(2);
    expect(node.platform.status(runner.runId)).toBe("SUSPENDED");
    expect(node.gateway.log.some((line) => line.startsWith("thaw"))).toBe(false);
    expect(node.gateway.names()).toEqual([]);
  });

  it("a completion is held over an outage, and told once to the runner", async () => {
    await started();
    const runner = await node.executing();
    node.platformLink.down = true;
    const answered = runner.complete();
    await node.clock.advance(12_000);
    node.platformLink.down = false;
    await node.clock.advance(4_000);
    expect(await answered).toMatchObject({ kind: "ok", body: { result: { attemptStatus: "RUN_FINISHED" } } });
    expect(node.platform.run(runner.runId).completions.length).toBe(1);
  });

  it("a completion whose answer was lost is answered with what it led to, not with the refusal of its repeat", async () => {
    await started();
    const runner = await node.executing();
    node.platformLink.failNext(workerActions.completeAttempt, "lose_reply");
    const answered = runner.complete();
    await node.clock.advance(2_000);
    expect(await answered).toMatchObject({ kind: "ok", body: { result: { attemptStatus: "RUN_FINISHED" } } });
    expect(node.platform.run(runner.runId).completions.length).toBe(1);
  });

  it("the same for one that is retried at once", async () => {
    await started();
    const runner = await node.executing();
    node.platformLink.failNext(workerActions.completeAttempt, "lose_reply");
    const answered = runner.complete({
      ok: false,
      id: runner.runId,
      error: { type: "STRING_ERROR", raw: "x" },
      retry: { timestamp: 1, delay: 0 },
    });
    await node.clock.advance(2_000);
    expect(await answered).toMatchObject({ kind: "ok", body: { result: { attemptStatus: "RETRY_IMMEDIATELY" } } });
  });

  it("a start whose answer was lost is failed at once, because nobody will execute it", async () => {
    await started();
    const runId = node.platform.trigger();
    await node.clock.advance(10);
    const name = node.gateway.names()[0] ?? "";
    const { TestRunner } = await import("./node.ts");
    const runner = new TestRunner(node, runId, name);
    node.platformLink.failNext(workerActions.startAttempt, "lose_reply");
    const answered = runner.start();
    await node.clock.advance(2_000);
    expect(await answered).toMatchObject({ kind: "refused", status: 409, mayRetry: false });
    await node.clock.advance(1_000);
    expect(node.platform.run(runId).completions).toMatchObject([{ ok: false, error: { code: "TASK_PROCESS_EXITED_WITH_NON_ZERO_CODE" } }]);
    expect(node.platform.status(runId)).not.toBe("EXECUTING");
  });

  it("a poll that cannot be answered is 503, which runners try again", async () => {
    await started();
    const runner = await node.executing();
    node.platformLink.down = true;
    expect(await runner.heartbeat()).toMatchObject({ kind: "refused", status: 503, mayRetry: true });
  });
});

describe("the gateway fails while a run falls asleep", () => {
  it.each(["disk_full", "no_room", "quota_exceeded", "checkpoint_failed", "timed_out"] as const)(
    "%s: the task goes on, and is put to sleep later",
    async (reason) => {
      await started();
      node.gateway.autoFinish = false;
      const runner = await node.waiting();
      await node.clock.advance(6_000);
      await node.gateway.fail(runner.name, reason);
      await node.clock.advance(300);
      expect(node.gateway.instance(runner.name).state).toBe("running");
      expect(node.sleepEvents(runner.runId)).toContain(`snapshot.failed:${reason}`);
      node.gateway.autoFinish = true;
      await node.clock.advance(20_000);
      expect(node.platform.status(runner.runId)).toBe("SUSPENDED");
    },
  );

  it("because memory images fill their quota: those that no run needs are deleted at once, and the run sleeps at its next try", async () => {
    await started();
    const canceled = await node.asleep();
    const runner = await node.waiting();
    node.platform.cancel(canceled.runId);
    node.gatewayLink.failNext(gateway.snapshotInstance, { status: 507, code: "memory_quota_exceeded" });
    await node.clock.advance(5_500);
    expect(node.sleepEvents(runner.runId)).toContain("snapshot.failed:quota_exceeded");
    expect(node.gateway.images.size).toBe(0);
    await node.clock.advance(20_000);
    expect(node.platform.status(runner.runId)).toBe("SUSPENDED");
  });

  it("never answers: after the time-out the freeze is cancelled and the task goes on", async () => {
    await started({ env: { TORPOR_SNAPSHOT_TIMEOUT_MS: "10000" } });
    node.gateway.autoFinish = false;
    const runner = await node.waiting();
    await node.clock.advance(17_000);
    expect(node.gateway.instance(runner.name).state).toBe("running");
    expect(node.sleepEvents(runner.runId)).toContain("snapshot.failed:timed_out");
  });

  it("never answers, cannot be told to stop, and is done at last: thawed, and its files are deleted", async () => {
    await started({ env: { TORPOR_SNAPSHOT_TIMEOUT_MS: "10000" } });
    node.gateway.autoFinish = false;
    const runner = await node.waiting();
    node.gatewayLink.failNext(gateway.cancelSnapshot, ...Array.from({ length: 20 }, () => "refuse_connection" as const));
    await node.clock.advance(17_000);
    expect(node.gateway.instance(runner.name).state).toBe("freezing");
    await node.gateway.finish(runner.name);
    await node.clock.advance(500);
    expect(node.gateway.instance(runner.name).state).toBe("running");
    expect(node.gateway.images.size).toBe(0);
    expect(node.platformLink.countOf(workerActions.completeSuspension)).toBe(0);
  });

  it("its answer to the request is lost: the callback counts all the same", async () => {
    await started();
    const runner = await node.waiting();
    node.gatewayLink.failNext(gateway.snapshotInstance, "lose_reply");
    await node.clock.advance(6_500);
    expect(node.platform.status(runner.runId)).toBe("SUSPENDED");
    expect(node.gateway.names()).toEqual([]);
  });

  it("is not there: it is tried again", async () => {
    await started();
    const runner = await node.waiting();
    node.gatewayLink.failNext(gateway.snapshotInstance, "refuse_connection");
    await node.clock.advance(20_000);
    expect(node.platform.status(runner.runId)).toBe("SUSPENDED");
  });

  it("loses its answer to the commit: it is asked again until it has answered", async () => {
    await started();
    const runner = await node.waiting();
    node.gatewayLink.failNext(gateway.commitSnapshot, "lose_reply", "refuse_connection");
    await node.clock.advance(8_000);
    expect(node.platform.status(runner.runId)).toBe("SUSPENDED");
    expect(node.gateway.names()).toEqual([]);
    expect(node.gateway.images.size).toBe(1);
  });

  it("has thawed a sandbox whose suspension is accepted afterwards: the sandbox is removed all the same (L8)", async () => {
    await started();
    const runner = await node.waiting();
    const held = Promise.withResolvers<void>();
    node.platformLink.failNext(workerActions.completeSuspension, { hold: held.promise });
    await node.clock.advance(6_000);
    node.gateway.thawBySelf(runner.name);
    held.resolve();
    await node.clock.advance(1_000);
    expect(node.platform.status(runner.runId)).toBe("SUSPENDED");
    expect(node.gateway.names()).toEqual([]);
  });
});

describe("foreign neighbours", () => {
  it("a platform that does not say whether it accepted is asked for its latest word", async () => {
    await started({ foreignPlatform: true });
    const runner = await node.waiting();
    await node.clock.advance(6_500);
    expect(node.platform.status(runner.runId)).toBe("SUSPENDED");
    expect(node.gateway.names()).toEqual([]);
  });

  it("such a platform discards a stale suspension in silence: the sandbox is thawed, not destroyed", async () => {
    await started({ foreignPlatform: true });
    const runner = await node.waiting();
    node.platform.onNotify = () => {};
    const held = Promise.withResolvers<void>();
    node.platformLink.failNext(workerActions.completeSuspension, { hold: held.promise });
    await node.clock.advance(6_000);
    node.platform.wake(runner.runId);
    held.resolve();
    await node.clock.advance(100);
    expect(node.gateway.instance(runner.name).state).toBe("running");
    expect(await runner.since()).toEqual(["EXECUTING"]);
  });

  it("a gateway that cannot hold leaves the original running until the platform has accepted, then it is deleted", async () => {
    await started({ foreignGateway: true });
    const runner = await node.waiting();
    const held = Promise.withResolvers<void>();
    node.platformLink.failNext(workerActions.completeSuspension, { hold: held.promise });
    await node.clock.advance(6_000);
    expect(node.gateway.names()).toEqual([runner.name]);
    held.resolve();
    await node.clock.advance(500);
    expect(node.platform.status(runner.runId)).toBe("SUSPENDED");
    expect(node.gateway.names()).toEqual([]);
    node.platform.wake(runner.runId);
    await node.clock.advance(500);
    expect(node.platform.status(runner.runId)).toBe("EXECUTING");
  });

  it("a run that cannot be placed is left to a foreign platform's own time-out, and nothing fails for it", async () => {
    await started({ foreignPlatform: true });
    node.gatewayLink.failNext(gateway.createInstance, { status: 400 });
    const runId = node.platform.trigger();
    await node.clock.advance(5_000);
    expect(node.platform.status(runId)).toBe("PENDING_EXECUTING");
    const other = await node.executing();
    expect(node.platform.status(other.runId)).toBe("EXECUTING");
  });
});
