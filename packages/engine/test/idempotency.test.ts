import { describe, expect, it } from "vitest";
import { inMs, usePlane } from "./harness.ts";
import { must, systemError } from "./worker.ts";

const plane = usePlane();

describe("an idempotency key", () => {
  it("makes no second run while it lives (behaviour 56)", async () => {
    const scene = await plane.scene();
    const first = await scene.tryTrigger("work", { idempotencyKey: "k" });
    expect(first).toMatchObject({ kind: "triggered", isCached: false });
    const second = await scene.tryTrigger("work", { idempotencyKey: "k" });
    expect(second).toEqual({ ...first, isCached: true });
    expect(await scene.queue()).toEqual({ running: 0, queued: 1 });
  });

  it("makes one run of twenty triggers at once, over two processes", async () => {
    const scene = await plane.scene();
    const second = await plane.anotherEngine();
    const outcomes = await Promise.all(
      Array.from({ length: 20 }, (_, index) =>
        (index % 2 === 0 ? scene.engine : second).trigger(scene.env, "work", { payloadType: "application/json", idempotencyKey: "race" }),
      ),
    );
    const triggered = outcomes.map((outcome) => must(outcome, "triggered"));
    expect(new Set(triggered.map((one) => one.runId)).size).toBe(1);
    expect(triggered.filter((one) => !one.isCached)).toHaveLength(1);
    expect(await scene.queue()).toEqual({ running: 0, queued: 1 });
    await second.close();
  });

  it("makes a new run once it has expired", async () => {
    const scene = await plane.scene();
    const first = await scene.trigger("work", { idempotencyKey: "k", idempotencyKeyExpiresAt: inMs(plane, 60_000) });
    await plane.clock.advance(59_000);
    expect(await scene.trigger("work", { idempotencyKey: "k", idempotencyKeyExpiresAt: inMs(plane, 60_000) })).toBe(first);
    await plane.clock.advance(1_000);
    expect(await scene.trigger("work", { idempotencyKey: "k", idempotencyKeyExpiresAt: inMs(plane, 60_000) })).not.toBe(first);
  });

  it("makes one new run of many triggers at once when it has expired, or its run has failed", async () => {
    const scene = await plane.scene();
    const second = await plane.anotherEngine();
    const many = async (): Promise<Set<string>> => {
      const options = { payloadType: "application/json", idempotencyKey: "k", idempotencyKeyExpiresAt: inMs(plane, 60_000) };
      const outcomes = await Promise.all(
        Array.from({ length: 20 }, (_, index) => (index % 2 === 0 ? scene.engine : second).trigger(scene.env, "work", options)),
      );
      return new Set(outcomes.map((outcome) => must(outcome, "triggered").runId));
    };
    const [first] = await many();
    await plane.clock.advance(61_000);
    const afterExpiry = await many();
    expect(afterExpiry.size).toBe(1);
    expect(afterExpiry).not.toContain(first);
    for (const held of await scene.worker.takeAll()) {
      await held.start();
      await held.fail(systemError("TASK_RUN_CRASHED"));
    }
    const afterFailure = await many();
    expect(afterFailure.size).toBe(1);
    expect(afterFailure).not.toEqual(afterExpiry);
    await second.close();
  });

  it("lives thirty days when nothing else is said", async () => {
    const scene = await plane.scene();
    const first = await scene.trigger("work", { idempotencyKey: "k" });
    await scene.cancel(await scene.trigger("child"));
    plane.clock.jumpWall(30 * 24 * 3_600_000 - 1_000);
    expect(await scene.trigger("work", { idempotencyKey: "k" })).toBe(first);
    plane.clock.jumpWall(2_000);
    expect(await scene.trigger("work", { idempotencyKey: "k" })).not.toBe(first);
  });

  it("makes a new run when the old one has failed or expired, and not when it succeeded", async () => {
    const scene = await plane.scene();
    const failed = await scene.executing("work", { idempotencyKey: "k" });
    await failed.fail(systemError("TASK_RUN_CRASHED"));
    const expired = await scene.trigger("work", { idempotencyKey: "k", ttlSeconds: 1 });
    expect(expired).not.toBe(failed.runId);
    await plane.clock.advance(2_000);
    await scene.untilState(expired, "FINISHED/EXPIRED");
    const good = await scene.executing("work", { idempotencyKey: "k" });
    expect(good.runId).not.toBe(expired);
    await good.succeed();
    expect(await scene.trigger("work", { idempotencyKey: "k" })).toBe(good.runId);
  });

  it("belongs to a task and an environment", async () => {
    const scene = await plane.scene();
    const other = await plane.scene();
    const runIds = [
      await scene.trigger("work", { idempotencyKey: "k" }),
      await scene.trigger("child", { idempotencyKey: "k" }),
      await other.trigger("work", { idempotencyKey: "k" }),
    ];
    expect(new Set(runIds).size).toBe(3);
  });

  it("can be reset, so that the next trigger makes a new run", async () => {
    const scene = await plane.scene();
    const first = await scene.trigger("work", { idempotencyKey: "k" });
    expect(await scene.engine.resetIdempotencyKey(scene.env, "work", "k")).toEqual({ kind: "reset" });
    expect(await scene.trigger("work", { idempotencyKey: "k" })).not.toBe(first);
    expect(await scene.engine.resetIdempotencyKey(scene.env, "work", "unheard")).toMatchObject({ kind: "refused", code: "not_found" });
  });
});
