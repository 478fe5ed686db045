// A gateway is killed and started again: what its predecessor left must be taken over, finished, or removed.
import { mkdir, readFile, readdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { RunnerId, type MemoryImageId } from "@torpor/contracts";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { contract, FakeNode, ok, type FakeGateway } from "../testing/fakeGateway.ts";

const name = RunnerId.parse("runner-1");
const createBody = { name, image: "torpor/p@1", env: {}, cpu: 1, memory_gb: 0.5, metadata: {} };
let node: FakeNode;
let gateway: FakeGateway;
let sandboxId: string;

beforeEach(async () => {
  node = await FakeNode.make();
  gateway = await node.start();
  sandboxId = ok(await create()).id;
});
afterEach(() => node.close());

const create = () => gateway.client.call(contract.createInstance, { body: createBody });
const snapshotBody = () => ({ callback: { url: node.receiver.url, metadata: { nonce: "n1" } }, extensions: ["hold"], hold_ms: 30_000 });
const snapshot = () => gateway.client.call(contract.snapshotInstance, { params: { name }, body: snapshotBody() });
const commit = (snapshotId: MemoryImageId) => gateway.client.call(contract.commitSnapshot, { params: { snapshotId } });
const restoreBody = { name: RunnerId.parse("runner-2"), metadata: { A: "1" }, cpu: 1, memory_gb: 0.5 };
const restore = (snapshotId: MemoryImageId) => gateway.client.call(contract.restoreSnapshot, { params: { snapshotId }, body: restoreBody });
const state = async () => ok(await gateway.client.call(contract.getInstance, { params: { name } })).state;
const events = async () => ok(await gateway.client.call(contract.events, { query: { after: 0, wait_ms: 0 } })).events;
const memoryDir = () => join(node.dir, "gateway", "memory");

async function killAndStart(options: Parameters<FakeNode["start"]>[0] = {}): Promise<void> {
  await node.kill(gateway);
  gateway = await node.start(options);
}

async function held(): Promise<MemoryImageId> {
  const accepted = ok(await snapshot());
  await node.receiver.nth(1);
  return accepted!.snapshot_id;
}

/** Orders a hang on the next call of this kind, so that the kill comes in the middle of it. */
async function hangingAt(call: "create" | "prepare" | "restore" | "freeze" | "save", begin: () => Promise<unknown>): Promise<void> {
  const before = node.host.calls.length;
  node.host.failNext(call, "hang");
  begin().catch(() => undefined); // its gateway is killed
  await expect.poll(() => node.host.calls.slice(before).some((one) => one.startsWith(call))).toBe(true);
}

describe("a gateway that is killed while a sandbox", () => {
  it("runs: takes it over and hears of its exit", async () => {
    await killAndStart();
    expect(await state()).toBe("running");
    gateway.driver.exit(sandboxId, 5);
    await expect.poll(events).toMatchObject([{ type: "exited", name, exitCode: 5 }]);
  });

  it("runs, and dies before the next start: tells its exit", async () => {
    await node.kill(gateway);
    gateway.driver.exit(sandboxId, 5);
    gateway = await node.start();
    expect(await events()).toMatchObject([{ type: "exited", name, exitCode: null }]);
    expect(node.host.sandboxes.size).toBe(0);
  });

  it("is about to be frozen: it goes on, and the callback says that the snapshot failed", async () => {
    await hangingAt("freeze", snapshot);
    await killAndStart();
    expect(await state()).toBe("running");
    expect(await node.receiver.nth(1)).toMatchObject({ status: "failed", reason: "shutdown", metadata: { nonce: "n1" } });
    expect(await node.memoryFolders()).toEqual([]);
  });

  it("is being written: it goes on, the half-written files are deleted, and the callback says so", async () => {
    await hangingAt("save", snapshot);
    expect(await node.memoryFolders()).toHaveLength(1);
    await killAndStart();
    expect(await state()).toBe("running");
    gateway.driver.work(sandboxId, "goes on");
    expect(await node.memoryFolders()).toEqual([]);
    expect(await node.receiver.nth(1)).toMatchObject({ status: "failed", reason: "shutdown" });
  });

  it("is held: it stays held for the rest of its time, so that a commit that was decided still counts", async () => {
    const id = await held();
    await killAndStart();
    expect(await state()).toBe("held");
    ok(await commit(id));
    expect(node.host.sandboxes.size).toBe(0);
    ok(await restore(id));
  });

  it("is held, and its time is over meanwhile: it goes on", async () => {
    await held();
    await node.kill(gateway);
    gateway = await node.start();
    await gateway.clock.advance(30_000);
    await expect.poll(state).toBe("running");
    await expect.poll(() => node.memoryFolders()).toEqual([]);
    await expect.poll(events).toMatchObject([{ type: "thawed" }]);
  });

  it("is held, and the sandbox is killed too: a commit still counts", async () => {
    const id = await held();
    await node.kill(gateway);
    gateway.driver.exit(sandboxId, 137);
    gateway = await node.start();
    ok(await commit(id));
    ok(await restore(id));
  });

  it("is being committed: the next start finishes that (L5)", async () => {
    const id = await held();
    await node.kill(gateway);
    await rename(join(memoryDir(), `${id}.held`), join(memoryDir(), `${id}.committing`));
    gateway = await node.start();
    expect(node.host.sandboxes.size).toBe(0);
    expect(await node.memoryFolders()).toEqual([id]);
    ok(await commit(id));
    ok(await restore(id));
  });

  it("was committed and destroyed, but its image not yet released: the next start does", async () => {
    const id = await held();
    ok(await commit(id));
    await node.kill(gateway);
    await rename(join(memoryDir(), id), join(memoryDir(), `${id}.committing`));
    gateway = await node.start();
    ok(await restore(id));
  });

  it("is being created: nothing of it is left, and the same request starts it", async () => {
    ok(await gateway.client.call(contract.deleteInstance, { params: { name } }));
    await hangingAt("create", create);
    await killAndStart();
    expect(node.host.sandboxes.size).toBe(0);
    ok(await create());
    expect(node.host.sandboxes.size).toBe(1);
  });

  it("was created, but the answer was not given: the same request finds it", async () => {
    const path = join(node.dir, "gateway", "records", `${sandboxId}.json`);
    await node.kill(gateway);
    const record = { ...(JSON.parse(await readFile(path, "utf8")) as object), state: "starting", address: null };
    await writeFile(path, JSON.stringify(record));
    gateway = await node.start();
    expect(ok(await create())).toMatchObject({ id: sandboxId, address: node.host.sandboxes.get(sandboxId)?.address });
    expect(node.host.sandboxes.size).toBe(1);
  });
});

describe("a gateway that is killed while a memory image", () => {
  it("is stored: keeps it", async () => {
    const id = await held();
    ok(await commit(id));
    await killAndStart();
    ok(await restore(id));
  });

  it("is being made ready for: gives it back, since it certainly did not run (L6)", async () => {
    const id = await held();
    ok(await commit(id));
    await hangingAt("prepare", () => restore(id));
    await killAndStart();
    expect(node.host.sandboxes.size).toBe(0);
    ok(await restore(id));
  });

  it("was consumed, but nothing was started: gives it back (L6)", async () => {
    const id = await held();
    ok(await commit(id));
    await hangingAt("restore", () => restore(id)); // the fake's sandbox is prepared, and does not run yet
    expect(await node.memoryFolders()).toEqual([`${id}.consumed`]);
    await killAndStart();
    expect(await node.memoryFolders()).toEqual([id]);
    ok(await restore(id));
  });

  it("was consumed and runs: takes the sandbox over, deletes the image, and the same request finds it (L6)", async () => {
    const id = await held();
    ok(await commit(id));
    await hangingAt("restore", () => restore(id));
    const [restoredId] = [...node.host.sandboxes.keys()];
    Object.assign(node.host.sandboxes.get(restoredId!)!, { state: "running", memory: "m" });
    await killAndStart();
    expect(await node.memoryFolders()).toEqual([]);
    expect(ok(await restore(id)).id).toBe(restoredId);
    expect(node.host.sandboxes.size).toBe(1);
  });

  it("was consumed and its sandbox ended: deletes it, since it ran (L6)", async () => {
    const id = await held();
    ok(await commit(id));
    await hangingAt("restore", () => restore(id));
    for (const sandbox of node.host.sandboxes.values()) sandbox.state = "ended";
    await killAndStart();
    expect(await node.memoryFolders()).toEqual([]);
    expect(await restore(id)).toMatchObject({ kind: "refused", code: "memory_image_gone" });
    expect(node.host.sandboxes.size).toBe(0);
  });
});

describe("what nobody owns", () => {
  it("is destroyed: a sandbox without a record", async () => {
    await node.kill(gateway);
    await rm(join(node.dir, "gateway", "records", `${sandboxId}.json`));
    gateway = await node.start();
    expect(node.host.sandboxes.size).toBe(0);
  });

  it("is deleted: half-written, held and consumed images, temporary records, and letters that are half written", async () => {
    await node.kill(gateway);
    for (const folder of ["mem_0000000001aa.writing", "mem_0000000002aa.held", "mem_0000000003aa.consumed"])
      await mkdir(join(memoryDir(), folder), { recursive: true });
    await writeFile(join(node.dir, "gateway", "records", "sbxhalf.json.tmp"), "{");
    await mkdir(join(node.dir, "gateway", "outbox"), { recursive: true });
    await writeFile(join(node.dir, "gateway", "outbox", "mem_0000000001aa.json.tmp"), "{");
    gateway = await node.start();
    expect(await node.memoryFolders()).toEqual([]);
    expect(await readdir(join(node.dir, "gateway", "records"))).toEqual([`${sandboxId}.json`]);
    expect(await readdir(join(node.dir, "gateway", "outbox"))).toEqual([]);
  });
});

describe("a gateway that starts after a power cut", () => {
  it("is not stopped by records and letters that are empty", async () => {
    await node.kill(gateway);
    await writeFile(join(node.dir, "gateway", "records", `${sandboxId}.json`), "");
    await mkdir(join(node.dir, "gateway", "outbox"), { recursive: true });
    await writeFile(join(node.dir, "gateway", "outbox", "mem_0000000001aa.json"), "");
    gateway = await node.start();
    expect(node.host.sandboxes.size).toBe(0);
    ok(await create());
  });
});

describe("a gateway that is stopped", () => {
  it("cancels what is being written, thaws what is held, and leaves what runs to the next start", async () => {
    await held();
    await gateway.running.close();
    expect(node.host.sandboxes.get(sandboxId)?.state).toBe("running");
    expect(await node.memoryFolders()).toEqual([]);
    gateway = await node.start();
    expect(await state()).toBe("running");
  });

  it("cancels a snapshot that hangs in its write", async () => {
    await hangingAt("save", snapshot);
    await gateway.running.close();
    expect(node.host.sandboxes.get(sandboxId)?.state).toBe("running");
    gateway = await node.start();
    expect(await node.receiver.nth(1)).toMatchObject({ status: "failed", reason: "shutdown" });
  });

  it("leaves no sandbox and no file when it is told to destroy", async () => {
    await held();
    await gateway.running.close({ destroy: true });
    expect(node.host.sandboxes.size).toBe(0);
    expect(await readdir(node.dir)).toEqual([]);
  });
});
