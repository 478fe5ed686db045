import type { MemoryImageId, RunnerId } from "@torpor/contracts";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { contract, FakeNode, ok, type FakeGateway } from "../testing/fakeGateway.ts";

let node: FakeNode;
let gateway: FakeGateway;
beforeEach(async () => {
  node = await FakeNode.make();
  gateway = await node.start();
});
afterEach(() => node.close());

const named = (name: string): RunnerId => name as RunnerId;
const machine = { cpu: 0.5, memory_gb: 0.5 };
const instanceOf = (name: string) => gateway.client.call(contract.getInstance, { params: { name: named(name) } });
const remove = async (name: string): Promise<void> =>
  void ok(await gateway.client.call(contract.deleteInstance, { params: { name: named(name) } }));
const forget = (snapshotId: MemoryImageId) => gateway.client.call(contract.deleteSnapshot, { params: { snapshotId } });

/** A memory image that may be restored. */
async function stored({ commits = true } = {}): Promise<MemoryImageId> {
  ok(
    await gateway.client.call(contract.createInstance, {
      body: { name: named("runner-1"), image: "torpor/a", env: {}, ...machine, metadata: {}, labels: { org: "o1" } },
    }),
  );
  const body = { callback: { url: node.receiver.url, metadata: {} }, extensions: ["hold"] };
  ok(await gateway.client.call(contract.snapshotInstance, { params: { name: named("runner-1") }, body }));
  const callback = await node.receiver.nth(1);
  if (callback.status !== "completed") throw new Error(callback.error);
  if (commits) ok(await gateway.client.call(contract.commitSnapshot, { params: { snapshotId: callback.snapshot_id } }));
  return callback.snapshot_id;
}

const restore = (snapshotId: MemoryImageId, name: string, extensions: string[] = ["reserve"]) =>
  gateway.client.call(contract.restoreSnapshot, {
    params: { snapshotId },
    body: { name: named(name), metadata: {}, ...machine, extensions },
  });

describe("a memory image that is reserved for a sandbox", () => {
  it("stays on the disk while that runs, and nobody else can restore it (L6)", async () => {
    const id = await stored();
    expect(ok(await restore(id, "runner-2")).extensions).toEqual(["reserve"]);
    expect(await node.memoryFolders()).toEqual([`${id}.reserved`]);
    expect(await restore(id, "runner-3", [])).toMatchObject({ kind: "refused", status: 409, code: "sandbox_frozen" });
  });

  it("is never taken for a damaged one by who asks for it while its original ends, or who was made ready from it", async () => {
    const id = await stored({ commits: false });
    const [, early] = await Promise.all([
      gateway.client.call(contract.commitSnapshot, { params: { snapshotId: id } }),
      restore(id, "runner-2"),
    ]);
    if (early.kind !== "ok") expect(early).toMatchObject({ kind: "refused", status: 409, code: "sandbox_frozen" });
    const [, late] = await Promise.all([remove("runner-2"), restore(id, "runner-3")]);
    if (late.kind !== "ok") expect(late).toMatchObject({ kind: "refused", status: 409, code: "sandbox_frozen" });
    await remove("runner-3");
    expect(await node.memoryFolders()).toEqual([id]);
  });

  it("is granted to the same request again after a lost answer, for the same sandbox", async () => {
    const id = await stored();
    const first = ok(await restore(id, "runner-2"));
    expect(ok(await restore(id, "runner-2"))).toMatchObject({ id: first.id, extensions: ["reserve"] });
  });

  it("gives the sandbox the labels that it had, when the request names none", async () => {
    const id = await stored();
    ok(await restore(id, "runner-2"));
    await remove("runner-2");
    expect(ok(await gateway.client.call(contract.listSnapshots)).snapshots[0]?.labels).toEqual({ org: "o1" });
  });

  it("is deleted when its run goes on, and the sandbox goes on (L7)", async () => {
    const id = await stored();
    ok(await restore(id, "runner-2"));
    ok(await forget(id));
    expect(ok(await gateway.client.call(contract.listSnapshots)).snapshots).toEqual([]);
    await vi.waitFor(async () => expect(await node.memoryFolders()).toEqual([]), { timeout: 60_000 });
    expect(ok(await instanceOf("runner-2")).state).toBe("running");
    await remove("runner-2");
    expect(await node.memoryFolders()).toEqual([]);
  });

  it("may be restored again when the sandbox is deleted before that", async () => {
    const id = await stored();
    ok(await restore(id, "runner-2"));
    await remove("runner-2");
    expect(await node.memoryFolders()).toEqual([id]);
    ok(await restore(id, "runner-3", []));
  });

  it("may be restored again when the sandbox has died before that", async () => {
    const id = await stored();
    const { id: sandboxId } = ok(await restore(id, "runner-2"));
    gateway.driver.exit(sandboxId, 137);
    const { events } = ok(await gateway.client.call(contract.events, { query: { after: 0, wait_ms: 5_000 } }));
    expect(events.map(({ type, name }) => [type, name])).toEqual([["exited", "runner-2"]]);
    await expect.poll(() => node.memoryFolders()).toEqual([id]);
  });

  it("may be restored again when it did not start, or perhaps did", async () => {
    const id = await stored();
    for (const fault of ["refuse", "lose_reply"] as const) {
      node.host.failNext("restore", fault);
      expect((await restore(id, "runner-2")).kind).toBe("refused");
      expect(await node.memoryFolders()).toEqual([id]);
    }
    ok(await restore(id, "runner-2"));
  });

  it("is committed once more after a lost answer", async () => {
    const id = await stored();
    ok(await restore(id, "runner-2"));
    ok(await gateway.client.call(contract.commitSnapshot, { params: { snapshotId: id } }));
    expect(await node.memoryFolders()).toEqual([`${id}.reserved`]);
  });

  it("stays reserved over a kill of the gateway while the sandbox lives, and is free when it does not any more", async () => {
    const id = await stored();
    const { id: sandboxId } = ok(await restore(id, "runner-2"));
    await node.kill(gateway);
    gateway = await node.start();
    expect(await node.memoryFolders()).toEqual([`${id}.reserved`]);
    expect(ok(await instanceOf("runner-2")).state).toBe("running");
    await node.kill(gateway);
    node.host.sandboxes.delete(sandboxId);
    gateway = await node.start();
    expect(await node.memoryFolders()).toEqual([id]);
  });
});
