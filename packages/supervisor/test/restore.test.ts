import { gateway, workerActions } from "@torpor/contracts";
import { afterEach, describe, expect, it } from "vitest";
import { TestNode, type NodeOptions } from "./node.ts";

let node: TestNode;
afterEach(() => node.kill());

async function started(options: NodeOptions = {}): Promise<TestNode> {
  node = new TestNode(options);
  return await node.start();
}

describe("a sleeping run", () => {
  it("whose memory image is gone or does not match is failed with that reason, and starts over", async () => {
    for (const [code, status, reason] of [
      ["memory_image_gone", 404, "memory_image_gone"],
      ["memory_image_refused", 422, "memory_image_refused"],
    ] as const) {
      await started();
      const runner = await node.asleep();
      node.gatewayLink.failNext(gateway.restoreSnapshot, { status, code });
      node.platform.wake(runner.runId);
      await node.clock.advance(2_000);
      expect(node.platform.run(runner.runId).restoreOutcomes).toEqual([{ outcome: "fail", reason }]);
      node.kill();
    }
  });

  it("whose memory image another node has is given back once, for that one; when it comes again, it starts over", async () => {
    await started();
    const runner = await node.asleep();
    node.kill(); // what is left knows nothing of its image, as a node that never had it
    node.gatewayLink.failNext(
      gateway.restoreSnapshot,
      ...Array.from({ length: 2 }, () => ({ status: 404, code: "memory_image_gone" }) as const),
    );
    await node.start();
    node.platform.wake(runner.runId);
    await node.clock.advance(2_000);
    expect(node.platform.run(runner.runId).restoreOutcomes).toEqual([{ outcome: "requeue", reason: "memory_image_elsewhere" }]);
    node.platform.offerAgain(runner.runId);
    await node.clock.advance(2_000);
    expect(node.platform.run(runner.runId).restoreOutcomes.at(-1)).toEqual({ outcome: "fail", reason: "memory_image_gone" });
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

  it("whose original is not destroyed yet for the gateway's part is asked for again until it is (L5)", async () => {
    await started();
    const runner = await node.asleep();
    node.gatewayLink.failNext(
      gateway.restoreSnapshot,
      ...Array.from({ length: 6 }, () => ({ status: 409, code: "sandbox_frozen" }) as const),
    );
    node.platform.wake(runner.runId);
    await node.clock.advance(1_000);
    expect(node.platform.status(runner.runId)).toBe("EXECUTING");
    expect(node.gateway.names().length).toBe(1);
  });

  it.each([true, false])(
    "handed out before we know that its suspension was accepted: its image is not lost with the original (L5, foreign gateway: %s)",
    async (foreignGateway) => {
      await started({ foreignGateway });
      const runner = await node.waiting();
      const outage = Array.from({ length: 3 }, () => ({ status: 503 }));
      node.platformLink.failNext(workerActions.completeSuspension, "lose_reply", ...outage);
      node.platformLink.failNext(workerActions.latestSnapshot, "pass", ...outage);
      await node.clock.advance(5_300);
      expect(node.core.intents.of(runner.runId)?.state).toBe("held");
      node.platform.wake(runner.runId);
      await node.clock.advance(10_000);
      expect(node.platform.status(runner.runId)).toBe("EXECUTING");
      const { log } = node.gateway;
      expect(log.findIndex((line) => line === `delete ${runner.name}` || line === `commit ${runner.name}`)).toBeLessThan(
        log.findLastIndex((line) => line.startsWith("create")),
      );
      expect(node.gateway.names()).not.toContain(runner.name);
    },
  );

  it("whose restore may have happened is looked up, and goes on", async () => {
    await started();
    const runner = await node.asleep();
    node.gatewayLink.failNext(gateway.restoreSnapshot, "lose_reply");
    node.platform.wake(runner.runId);
    await node.clock.advance(2_000);
    expect(node.gatewayLink.countOf(gateway.restoreSnapshot)).toBe(1);
    expect(node.platform.status(runner.runId)).toBe("EXECUTING");
  });

  it("that has spoken from a sandbox which is no more is known under its first name all the same when it is restored again", async () => {
    await started();
    const runner = await node.asleep();
    expect(await runner.complete()).toMatchObject({ kind: "refused" }); // nobody is known by this name here, and its run sleeps
    node.platform.wake(runner.runId);
    await node.clock.advance(500);
    expect(await runner.since()).toEqual(["EXECUTING"]);
    expect(node.core.runners.named(runner.claim)).toBe(node.core.runners.holderOf(runner.runId));
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
    node.platform.run(runner.runId).history.push({
      ...node.platform.latest(runner.runId),
      snapshot: { ...node.platform.latest(runner.runId).snapshot, friendlyId: "snapshot_9999999999", executionStatus: "FINISHED" },
    });
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

  it("cancelled while asleep: its image is swept at once, however young it is (L7)", async () => {
    await started();
    const runner = await node.asleep();
    node.platform.cancel(runner.runId);
    await node.core.sweeper.sweep();
    expect(node.gateway.images.size).toBe(0);
  });

  it("an image that is younger than a minute is not swept, whatever the platform says of it: its report may be on its way", async () => {
    await started();
    node.gateway.images.set("mem_000000000001", {
      id: "mem_000000000001",
      name: "x",
      state: "stored",
      createdAt: new Date(node.clock.nowMs()),
    });
    await node.clock.advance(59_000);
    await node.core.sweeper.sweep();
    expect(node.gateway.images.size).toBe(1);
    await node.clock.advance(1_000);
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
