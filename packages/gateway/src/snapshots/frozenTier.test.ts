import type { MemoryImageId, RunnerId } from "@torpor/contracts";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { contract, FakeNode, ok, type FakeGateway } from "../testing/fakeGateway.ts";

let node: FakeNode;
let gateway: FakeGateway;
beforeEach(async () => {
  node = await FakeNode.make();
  await start();
});
afterEach(() => node.close());

const GIB = 1024 ** 3;
const KEEP_MS = 60_000;
const machine = { cpu: 0.5, memory_gb: 0.5 };
const named = (name: string): RunnerId => name as RunnerId;

async function start(frozenBytes = GIB): Promise<void> {
  gateway = await node.start({ config: { frozenBytes } });
}

let callbacks = 0;
beforeEach(() => {
  callbacks = 0;
});

/** A run's sandbox that was frozen, written and committed, and is worth keeping. */
async function asleep(name = "runner-1", keepMs = KEEP_MS): Promise<{ id: MemoryImageId; sandboxId: string; outcome: string }> {
  const { id: sandboxId } = ok(
    await gateway.client.call(contract.createInstance, {
      body: { name: named(name), image: "torpor/a", env: {}, ...machine, metadata: {} },
    }),
  );
  const sandbox = node.host.sandboxes.get(sandboxId);
  if (sandbox !== undefined) sandbox.memory = "remembered";
  const body = { callback: { url: node.receiver.url, metadata: {} }, extensions: ["hold"] };
  ok(await gateway.client.call(contract.snapshotInstance, { params: { name: named(name) }, body }));
  const callback = await node.receiver.nth(++callbacks);
  if (callback.status !== "completed") throw new Error(callback.error);
  const id = callback.snapshot_id;
  const { outcome } = ok(await gateway.client.call(contract.commitSnapshot, { params: { snapshotId: id }, body: { keep_ms: keepMs } }));
  return { id, sandboxId, outcome };
}

const restore = (snapshotId: MemoryImageId, name = "runner-2", more: { memory_gb?: number; extensions?: string[] } = {}) =>
  gateway.client.call(contract.restoreSnapshot, {
    params: { snapshotId },
    body: { name: named(name), metadata: { TRIGGER_RUNNER_ID: name }, ...machine, ...more },
  });
const states = async (): Promise<[string, string][]> =>
  ok(await gateway.client.call(contract.listInstances)).instances.map(({ name, state }) => [name, state]);

describe("a frozen sandbox that is kept", () => {
  it("goes on where it stood when its memory image is restored, under the new name and with its metadata; the image is gone (L6, L7)", async () => {
    const { id, sandboxId, outcome } = await asleep();
    expect(outcome).toBe("kept");
    expect(await states()).toEqual([["runner-1", "kept"]]);
    expect(await node.memoryFolders()).toEqual([id]);
    expect(ok(await restore(id))).toMatchObject({ id: sandboxId, extensions: ["thawed"] });
    expect(await states()).toEqual([["runner-2", "running"]]);
    const sandbox = node.host.sandboxes.get(sandboxId);
    expect(sandbox?.memory).toContain("remembered");
    expect(sandbox?.state).toBe("running");
    await expect.poll(() => node.memoryFolders()).toEqual([]);
    expect(await restore(id, "runner-3")).toMatchObject({ kind: "refused", code: "memory_image_gone" });
  });

  it("answers the same to the same request after a lost answer", async () => {
    const { id, sandboxId } = await asleep();
    ok(await restore(id));
    expect(ok(await restore(id)).id).toBe(sandboxId);
  });

  it("frees its old name, and can be put to sleep again under its new one", async () => {
    const { id } = await asleep();
    ok(await restore(id));
    ok(
      await gateway.client.call(contract.createInstance, {
        body: { name: named("runner-1"), image: "torpor/a", env: {}, ...machine, metadata: {} },
      }),
    );
    const body = { callback: { url: node.receiver.url, metadata: {} }, extensions: ["hold"] };
    ok(await gateway.client.call(contract.snapshotInstance, { params: { name: named("runner-2") }, body }));
    expect((await node.receiver.nth(2)).status).toBe("completed");
  });

  it("is thawed once when several restore at the same time", async () => {
    const { id } = await asleep();
    const outcomes = await Promise.all([2, 3, 4].map((count) => restore(id, `runner-${count}`)));
    expect(outcomes.filter(({ kind }) => kind === "ok")).toHaveLength(1);
    expect((await states()).filter(([, state]) => state === "running")).toHaveLength(1);
    expect(node.host.sandboxes.size).toBe(1);
  });

  it("is given ahead of time, too: its memory image is reserved then", async () => {
    const { id } = await asleep();
    expect(ok(await restore(id, "runner-2", { extensions: ["reserve"] })).extensions).toEqual(["reserve", "thawed"]);
    expect(await node.memoryFolders()).toEqual([`${id}.reserved`]);
    ok(await gateway.client.call(contract.deleteInstance, { params: { name: named("runner-2") } }));
    expect(await node.memoryFolders()).toEqual([id]);
  });

  it("is destroyed when another machine is asked for, and the memory image is restored", async () => {
    const { id, sandboxId } = await asleep();
    const restored = ok(await restore(id, "runner-2", { memory_gb: 1 }));
    expect(restored.extensions).toBeUndefined();
    expect(restored.id).not.toBe(sandboxId);
    expect([...node.host.sandboxes.keys()]).toEqual([restored.id]);
  });

  it("that has died meanwhile costs nothing: the memory image is restored", async () => {
    const { id, sandboxId } = await asleep();
    gateway.driver.exit(sandboxId, 137);
    const restored = ok(await restore(id));
    expect(restored.id).not.toBe(sandboxId);
    expect(node.host.sandboxes.get(restored.id)?.memory).toContain("remembered");
  });

  it("is destroyed when its time is over, and its memory image stays", async () => {
    const { id } = await asleep();
    await gateway.clock.advance(KEEP_MS + 10);
    await expect.poll(() => node.host.sandboxes.size).toBe(0);
    expect(await states()).toEqual([]);
    expect(ok(await restore(id)).extensions).toBeUndefined();
  });

  it("is destroyed with its memory image when its run is over (L7)", async () => {
    const { id } = await asleep();
    ok(await gateway.client.call(contract.deleteSnapshot, { params: { snapshotId: id } }));
    expect(await states()).toEqual([]);
    expect(node.host.sandboxes.size).toBe(0);
    expect(await node.memoryFolders()).toEqual([]);
  });

  it("is destroyed under its old name", async () => {
    const { id } = await asleep();
    ok(await gateway.client.call(contract.deleteInstance, { params: { name: named("runner-1") } }));
    expect(node.host.sandboxes.size).toBe(0);
    expect(ok(await restore(id)).extensions).toBeUndefined();
  });

  it("makes way for a younger one when both are more than the bound, the oldest first", async () => {
    await gateway.running.close();
    await start(1_500_000); // a sandbox of the fake driver occupies 1 MB
    await asleep("runner-1");
    await asleep("runner-2");
    expect(await states()).toEqual([["runner-2", "kept"]]);
  });

  it("makes way for a sandbox that has no room otherwise", async () => {
    await gateway.running.close();
    gateway = await node.start({ config: { frozenBytes: GIB, maxSandboxes: 1 } });
    await asleep("runner-1");
    ok(
      await gateway.client.call(contract.createInstance, {
        body: { name: named("runner-9"), image: "torpor/a", env: {}, ...machine, metadata: {} },
      }),
    );
    expect(await states()).toEqual([["runner-9", "running"]]);
  });

  it("is destroyed by the next start after a kill, and its memory image stays", async () => {
    const { id } = await asleep();
    await node.kill(gateway);
    await start();
    expect(node.host.sandboxes.size).toBe(0);
    expect(await states()).toEqual([]);
    ok(await restore(id));
  });

  it("is destroyed when the gateway stops", async () => {
    const { id } = await asleep();
    await gateway.running.close();
    expect(node.host.sandboxes.size).toBe(0);
    expect(await node.memoryFolders()).toEqual([id]);
  });
});

describe("nothing is kept", () => {
  it("when the operator gives it no memory, which is the default", async () => {
    await gateway.running.close();
    gateway = await node.start();
    expect((await asleep()).outcome).toBe("committed");
    expect(node.host.sandboxes.size).toBe(0);
    expect(ok(await gateway.client.call(contract.node)).extensions).not.toContain("keep");
  });

  it("when it is not worth it", async () => {
    expect((await asleep("runner-1", 0)).outcome).toBe("committed");
    expect(node.host.sandboxes.size).toBe(0);
  });

  it("that is larger than the bound", async () => {
    await gateway.running.close();
    await start(999_999);
    expect((await asleep()).outcome).toBe("committed");
  });
});
