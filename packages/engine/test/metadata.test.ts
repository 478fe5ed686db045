import { describe, expect, it } from "vitest";
import type { MetadataChange } from "../src/api.ts";
import { usePlane, type Scene } from "./harness.ts";
import { must } from "./worker.ts";

const plane = usePlane();

async function change(scene: Scene, runId: string, what: MetadataChange): Promise<Record<string, unknown>> {
  return must(await scene.engine.updateMetadata(scene.env, runId, what), "updated").metadata;
}

describe("a run's metadata", () => {
  it("are set, deleted, appended to, removed from, counted and updated by operations in their order", async () => {
    const scene = await plane.scene();
    const runId = await scene.trigger("work", { metadata: '{"kept":true,"list":["a"]}', metadataType: "application/json" });
    const metadata = await change(scene, runId, {
      operations: [
        { type: "set", key: "status", value: "half" },
        { type: "set", key: "gone", value: 1 },
        { type: "delete", key: "gone" },
        { type: "append", key: "list", value: "b" },
        { type: "append", key: "list", value: "c" },
        { type: "remove", key: "list", value: "a" },
        { type: "increment", key: "count", value: 2 },
        { type: "increment", key: "count", value: -0.5 },
      ],
    });
    expect(metadata).toEqual({ kept: true, status: "half", list: ["b", "c"], count: 1.5 });
    expect(JSON.parse((await scene.run(runId)).metadata ?? "null")).toEqual(metadata);
  });

  it("are replaced as a whole", async () => {
    const scene = await plane.scene();
    const runId = await scene.trigger("work", { metadata: '{"old":1}', metadataType: "application/json" });
    expect(await change(scene, runId, { metadata: { fresh: [1, { a: null }] } })).toEqual({ fresh: [1, { a: null }] });
  });

  it("of the parent and the root are changed by a child", async () => {
    const scene = await plane.scene();
    const root = await scene.executing();
    await scene.trigger("child", { parentRunId: root.runId });
    const parent = await scene.worker.takeAndStart();
    const child = await scene.trigger("child", { parentRunId: parent.runId });
    await change(scene, child, {
      parentOperations: [{ type: "set", key: "by", value: "child" }],
      rootOperations: [{ type: "increment", key: "n", value: 1 }],
    });
    expect(JSON.parse((await scene.run(parent.runId)).metadata ?? "{}")).toEqual({ by: "child" });
    expect(JSON.parse((await scene.run(root.runId)).metadata ?? "{}")).toEqual({ n: 1 });
  });

  it("lose no operation when many come at once", async () => {
    const scene = await plane.scene();
    const root = await scene.executing();
    const second = await plane.anotherEngine();
    const children = await Promise.all(Array.from({ length: 5 }, () => scene.trigger("child", { parentRunId: root.runId })));
    await Promise.all(
      Array.from({ length: 40 }, (_, index) =>
        (index % 2 === 0 ? scene.engine : second).updateMetadata(scene.env, children[index % 5] ?? "", {
          rootOperations: [{ type: "increment", key: "n", value: 1 }],
        }),
      ),
    );
    expect(JSON.parse((await scene.run(root.runId)).metadata ?? "{}")).toEqual({ n: 40 });
    await second.close();
  });

  it("cannot be used to reach into the engine: names of prototypes are refused or kept as plain names", async () => {
    const scene = await plane.scene();
    const runId = await scene.trigger();
    for (const key of ["__proto__", "constructor", "prototype", "$.__proto__.polluted", "$.constructor.prototype.polluted"]) {
      await scene.engine.updateMetadata(scene.env, runId, { operations: [{ type: "set", key, value: { polluted: true } }] });
      expect(({} as Record<string, unknown>)["polluted"]).toBeUndefined();
    }
    expect((await scene.run(runId)).status).toBe("PENDING");
  });

  it("of a run that is unknown, or of another environment, cannot be changed", async () => {
    const scene = await plane.scene();
    const other = await plane.scene();
    const foreign = await other.trigger();
    for (const runId of ["run_unknown", foreign])
      expect(await scene.engine.updateMetadata(scene.env, runId, { metadata: {} })).toMatchObject({ kind: "refused", code: "not_found" });
  });
});
