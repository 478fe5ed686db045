import { warmStart, workerActions, gateway } from "@torpor/contracts";
import { mounter } from "@torpor/http";
import { afterEach, describe, expect, it } from "vitest";
import { Loopback } from "./loopback.ts";
import { TestNode, TestRunner } from "./node.ts";

let node: TestNode;
let taken: string[];
afterEach(() => node.kill());

async function started(answer: boolean, env: Record<string, string> = {}): Promise<Loopback> {
  taken = [];
  const mount = mounter<Record<never, never>>();
  const broker = new Loopback([
    mount(warmStart.dispatch, async ({ body }) => {
      taken.push(body.dequeuedMessage.run.friendlyId);
      return { didWarmStart: answer };
    }),
  ]);
  node = new TestNode({ broker, env: { TRIGGER_WARM_START_URL: "http://broker.test", ...env } });
  await node.start();
  return broker;
}

/** An idle runner of this node begins the run that it was given. */
async function begin(runId: string, name: string): Promise<TestRunner> {
  const runner = new TestRunner(node, runId, name);
  expect((await runner.start()).kind).toBe("ok");
  return runner;
}

describe("warm-start hand-off", () => {
  it("cold-starts when the run has not moved by the deadline (W1)", async () => {
    await started(true);
    const runId = node.platform.trigger();
    await node.clock.advance(900);
    expect(node.gateway.names()).toEqual([]);
    await node.clock.advance(200);
    expect(node.gateway.names()).toEqual([`runner-${runId.slice("run_".length)}`]);
  });

  it("believes a moved snapshot even if nothing of it passed through here (W1)", async () => {
    await started(true);
    const runId = node.platform.trigger();
    await node.clock.advance(10);
    await node.platformLink.call(workerActions.startAttempt, {
      params: { runId, snapshotId: node.platform.latest(runId).snapshot.friendlyId },
      body: {},
    });
    await node.clock.advance(5_000);
    expect(node.gateway.names()).toEqual([]);
  });

  it("a start that passes through ends the check", async () => {
    await started(true);
    const runId = node.platform.trigger();
    await node.clock.advance(10);
    await begin(runId, "runner-idle");
    const looks = node.platformLink.countOf(workerActions.latestSnapshot);
    await node.clock.advance(5_000);
    expect(node.platformLink.countOf(workerActions.latestSnapshot)).toBe(looks);
    expect(node.gateway.names()).toEqual([]);
  });

  it("does nothing when the platform cannot be asked (W2)", async () => {
    await started(true);
    node.platform.trigger();
    await node.clock.advance(10);
    node.platformLink.failNext(workerActions.latestSnapshot, { status: 503 });
    await node.clock.advance(5_000);
    expect(node.gateway.names()).toEqual([]);
  });

  it("a check falling due after the drain began starts no sandbox", async () => {
    await started(true);
    node.platform.trigger();
    await node.clock.advance(10);
    node.core.state.draining = true;
    node.core.handOffs?.close();
    await node.clock.advance(5_000);
    expect(node.gatewayLink.countOf(gateway.createInstance)).toBe(0);
  });

  it("nobody idle: a sandbox at once", async () => {
    await started(false);
    node.platform.trigger();
    await node.clock.advance(10);
    expect(node.gateway.names().length).toBe(1);
  });

  it("the broker is away: a sandbox at once; its answer is lost: as if it had been taken", async () => {
    const broker = await started(true);
    broker.failNext(warmStart.dispatch, "refuse_connection");
    node.platform.trigger();
    await node.clock.advance(10);
    expect(node.gateway.names().length).toBe(1);
    broker.failNext(warmStart.dispatch, "lose_reply");
    node.platform.trigger();
    await node.clock.advance(10);
    expect(node.gateway.names().length).toBe(1);
    await node.clock.advance(1_500);
    expect(node.gateway.names().length).toBe(2);
  });

  it("a sleeping run is never offered", async () => {
    await started(false);
    const runner = await node.asleep();
    taken.length = 0;
    node.platform.wake(runner.runId);
    await node.clock.advance(500);
    expect(taken).toEqual([]);
    expect(node.platform.status(runner.runId)).toBe("EXECUTING");
  });

  it("a runner that takes a second run is put to sleep for it, not for the first", async () => {
    await started(true);
    const first = node.platform.trigger();
    await node.clock.advance(10);
    const runner = await begin(first, "runner-idle");
    runner.snapshotId = node.platform.block(first);
    await runner.suspend();
    await runner.complete();
    const second = node.platform.trigger();
    await node.clock.advance(10);
    const again = await begin(second, "runner-idle");
    again.snapshotId = node.platform.block(second);
    await again.suspend();
    await node.clock.advance(1_000);
    expect(node.core.intents.of(first)).toBeUndefined();
    expect(node.core.intents.of(second)?.runnerId).toBe("runner-idle");
  });

  it("a run that is retried warm by the runner that failed it is that runner's again", async () => {
    await started(true);
    const runId = node.platform.trigger();
    await node.clock.advance(10);
    const runner = await begin(runId, "runner-idle");
    await runner.call((await import("@torpor/contracts")).workload.completeAttempt, {
      completion: { ok: false, id: runId, error: { type: "STRING_ERROR", raw: "x" } },
      forceRequeue: true,
    });
    await node.clock.advance(100);
    expect(node.platform.status(runId)).toBe("PENDING_EXECUTING");
    await begin(runId, "runner-idle");
    expect(node.core.runners.holderOf(runId)?.name).toBe("runner-idle");
  });
});
