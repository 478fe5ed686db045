import { describe, expect, it } from "vitest";
import { usePlane } from "./harness.ts";
import { canceled, failure, success, userError } from "./worker.ts";

const plane = usePlane();

describe("completing an attempt", () => {
  it("twice is refused the second time and changes nothing", async () => {
    const scene = await plane.scene();
    const held = await scene.executing();
    const twin = held.through(plane.worker("node-2"));
    await held.succeed("first");
    expect(await twin.tryComplete(success(twin.runId, "second"))).toMatchObject({ kind: "refused" });
    expect(await scene.run(held.runId)).toMatchObject({ status: "COMPLETED_SUCCESSFULLY", output: "first" });
  });

  it("from twenty sides at once counts once", async () => {
    const scene = await plane.scene();
    const held = await scene.executing();
    const twins = Array.from({ length: 20 }, (_, index) => held.through(plane.worker(`node-${index}`)));
    const outcomes = await Promise.all(twins.map((twin, index) => twin.tryComplete(success(twin.runId, `by ${index}`))));
    const winners = outcomes.flatMap((outcome, index) => (outcome.kind === "completed" ? [index] : []));
    expect(winners).toHaveLength(1);
    expect((await scene.run(held.runId)).output).toBe(`by ${winners[0]}`);
    expect((await scene.history(held.runId)).filter((status) => status === "FINISHED")).toHaveLength(1);
  });

  it("with TASK_RUN_CANCELLED ends it as cancelled, whatever retries are left", async () => {
    const scene = await plane.scene();
    const held = await scene.executing("flaky");
    expect(await held.complete(canceled(held.runId))).toMatchObject({ attemptStatus: "RUN_FINISHED", run: { status: "CANCELED" } });
  });

  it("adds up the time of all attempts", async () => {
    const scene = await plane.scene();
    const held = await scene.executing("flaky");
    await held.complete({ ...failure(held.runId, userError("once"), 0), usage: { durationMs: 1_500 } });
    await held.start();
    await held.complete({ ...success(held.runId, "done"), usage: { durationMs: 2_000 } });
    expect((await scene.run(held.runId)).durationMs).toBe(3_500);
  });

  it("applies the metadata that the runner could not send before, to the run, its parent and its root", async () => {
    const scene = await plane.scene();
    const root = await scene.executing();
    await scene.trigger("child", { parentRunId: root.runId });
    const child = await scene.worker.takeAndStart();
    const changes = {
      operations: [{ type: "set", key: "own", value: 1 }],
      parentOperations: [{ type: "increment", key: "children", value: 1 }],
      rootOperations: [{ type: "append", key: "log", value: "child" }],
    };
    await child.complete({
      ...success(child.runId, "done"),
      flushedMetadata: { data: JSON.stringify(changes), dataType: "application/json" },
    });
    expect(JSON.parse((await scene.run(child.runId)).metadata ?? "{}")).toEqual({ own: 1 });
    expect(JSON.parse((await scene.run(root.runId)).metadata ?? "{}")).toEqual({ children: 1, log: ["child"] });
  });

  it("is not spoiled by flushed metadata that cannot be read", async () => {
    const scene = await plane.scene();
    const held = await scene.executing();
    await held.complete({ ...success(held.runId, "done"), flushedMetadata: { data: "{", dataType: "application/json" } });
    expect((await scene.run(held.runId)).status).toBe("COMPLETED_SUCCESSFULLY");
  });
});
