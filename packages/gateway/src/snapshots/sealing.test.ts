// Memory images over the gateway's HTTP contract, with the fake driver: sealed, bounded, and gone when nobody needs them (L7, L16).
import { cp, readFile, readdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { RunnerId, type MemoryImageId } from "@torpor/contracts";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { contract, FakeNode, ok, type FakeGateway, type FakeGatewayOptions } from "../testing/fakeGateway.ts";

const SECRET = "a secret that the task has in memory";
/** The machine may be busy with other tests. */
const PATIENT = { timeout: 60_000 };
let node: FakeNode;
let gateway: FakeGateway;

beforeEach(async () => {
  node = await FakeNode.make();
  gateway = await node.start();
});
afterEach(() => node.close());

async function restart(options: FakeGatewayOptions = {}): Promise<void> {
  await node.kill(gateway);
  gateway = await node.start(options);
}

const nameOf = (number: number) => RunnerId.parse(`runner-${number}`);
const snapshot = (number: number) =>
  gateway.client.call(contract.snapshotInstance, {
    params: { name: nameOf(number) },
    body: { callback: { url: node.receiver.url, metadata: {} }, extensions: ["hold"], hold_ms: 30_000 },
  });
const restore = (snapshotId: MemoryImageId, number = 9, memory = 0.5) =>
  gateway.client.call(contract.restoreSnapshot, {
    params: { snapshotId },
    body: { name: nameOf(number), metadata: {}, cpu: 1, memory_gb: memory },
  });

async function running(number: number): Promise<string> {
  const { id } = ok(
    await gateway.client.call(contract.createInstance, {
      body: { name: nameOf(number), image: "torpor/p@1", env: {}, cpu: 1, memory_gb: 0.5, metadata: {} },
    }),
  );
  gateway.driver.work(id, SECRET);
  return id;
}

async function held(number = 1): Promise<MemoryImageId> {
  await running(number);
  const accepted = ok(await snapshot(number));
  if (accepted === undefined) throw new Error("Expected an id");
  for (let count = 1; ; count++) {
    const callback = await node.receiver.nth(count);
    if (callback.status === "failed") throw new Error(`Expected a snapshot: ${JSON.stringify(callback)}`);
    if (callback.snapshot_id === accepted.snapshot_id) return callback.snapshot_id;
  }
}

async function stored(number = 1): Promise<MemoryImageId> {
  const id = await held(number);
  ok(await gateway.client.call(contract.commitSnapshot, { params: { snapshotId: id } }));
  return id;
}

const gatewayPath = (...parts: string[]) => join(node.dir, "gateway", ...parts);
const keys = async () => (await readdir(gatewayPath("keys"))).filter((name) => name.endsWith(".key")).toSorted();
const folder = (id: MemoryImageId) => gatewayPath("memory", id);
const staged = () => readdir(gatewayPath("staging"));

/** Every file below the data folder that holds the secret. */
async function filesWithSecret(): Promise<string[]> {
  const found: string[] = [];
  for (const entry of await readdir(node.dir, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isFile() && (await readFile(path)).includes(SECRET)) found.push(path);
  }
  return found;
}

describe("the memory of a sleeping task (L16)", PATIENT, () => {
  it("lies in no file in clear, while it is held and while it is stored", async () => {
    const id = await held();
    expect(await filesWithSecret()).toEqual([]);
    ok(await gateway.client.call(contract.commitSnapshot, { params: { snapshotId: id } }));
    expect(await filesWithSecret()).toEqual([]);
    expect(await staged()).toEqual([]);
    expect(await keys()).toEqual([`${id}.key`]);
  });

  it("is what its task wakes with", async () => {
    const { id } = ok(await restore(await stored()));
    expect(node.host.sandboxes.get(id)?.memory).toContain(SECRET);
  });

  it("is noise from the moment it runs again: its key is gone, and so is what lay in clear", async () => {
    ok(await restore(await stored()));
    await expect.poll(keys, PATIENT).toEqual([]);
    await expect.poll(staged, PATIENT).toEqual([]);
  });

  it.each(["abort", "delete"] as const)("is noise after its %s", async (how) => {
    if (how === "abort") ok(await gateway.client.call(contract.abortSnapshot, { params: { snapshotId: await held() } }));
    else ok(await gateway.client.call(contract.deleteSnapshot, { params: { snapshotId: await stored() } }));
    expect(await keys()).toEqual([]);
    expect(await node.memoryFolders()).toEqual([]);
  });

  it.each(["disk_full", "checkpoint_failed", "dies"] as const)(
    "leaves no key and nothing in clear when its save ends with %s",
    async (fault) => {
      await running(1);
      node.host.failNext("save", fault);
      ok(await snapshot(1));
      expect(await node.receiver.nth(1)).toMatchObject({ status: "failed" });
      await expect.poll(keys, PATIENT).toEqual([]);
      expect(await staged()).toEqual([]);
    },
  );
});

async function expectRefused(id: MemoryImageId, message: string): Promise<void> {
  const before = node.host.calls.length;
  const refused = { kind: "refused", status: 422, code: "memory_image_refused", message: expect.stringContaining(message) };
  expect(await restore(id)).toMatchObject(refused);
  expect(node.host.calls.slice(before).filter((call) => call.startsWith("restore"))).toEqual([]);
  expect(await restore(id)).toMatchObject(refused); // whoever asks again after a lost answer hears the cause too
}

describe("a memory image that somebody changed is refused before its task runs (L16, L11)", PATIENT, () => {
  it("and then goes by itself, files and key", async () => {
    const id = await stored();
    await rm(join(folder(id), "pages.img"));
    await expectRefused(id, "pages.img is missing");
    await expect.poll(() => node.memoryFolders(), PATIENT).toEqual([]);
    await expect.poll(keys, PATIENT).toEqual([]);
  });

  it("by a file of another run's image", async () => {
    const [mine, others] = [await stored(1), await stored(2)];
    await cp(join(folder(others), "memory.img"), join(folder(mine), "memory.img"));
    await expectRefused(mine, "memory.img is damaged");
    ok(await restore(others));
  });

  it("by another run's whole image under its name", async () => {
    const [mine, others] = [await stored(1), await stored(2)];
    await rm(folder(mine), { recursive: true });
    await rename(folder(others), folder(mine));
    await expectRefused(mine, "manifest.json is damaged or missing, or its key is");
  });

  it("by another file of the same image", async () => {
    const id = await stored();
    const [memory, pages] = [join(folder(id), "memory.img"), join(folder(id), "pages.img")];
    const kept = await readFile(memory);
    await cp(pages, memory);
    await writeFile(pages, kept);
    await expectRefused(id, "should have");
  });

  it("by another manifest", async () => {
    const id = await stored();
    const path = join(folder(id), "manifest.json");
    await writeFile(path, (await readFile(path, "utf8")).replace("torpor/p@1", "torpor/q@1"));
    await expectRefused(id, "manifest.json");
  });

  it("by a key that is gone", async () => {
    const id = await stored();
    await rm(gatewayPath("keys", `${id}.key`));
    await expectRefused(id, "or its key is");
  });

  it("is found and deleted by the next start, which remembers the cause", async () => {
    const id = await stored();
    await node.kill(gateway);
    await writeFile(join(folder(id), "manifest.json"), "");
    gateway = await node.start();
    expect(await node.memoryFolders()).toEqual([]);
    expect(await keys()).toEqual([]);
    await expectRefused(id, "manifest.json is damaged");
  });

  it("is not given up for a machine that is too small: a larger one can run it", async () => {
    const id = await stored();
    expect(await restore(id, 9, 0.25)).toMatchObject({ kind: "refused", code: "memory_image_refused" });
    ok(await restore(id));
  });
});

describe("a node that has no room", PATIENT, () => {
  it("refuses a snapshot beyond its quota by name, and its sandbox goes on", async () => {
    await stored(1);
    await restart({ config: { memoryQuotaBytes: 1 } });
    const id = await running(2);
    expect(await snapshot(2)).toMatchObject({ kind: "refused", status: 507, code: "memory_quota_exceeded", mayRetry: true });
    gateway.driver.work(id, "goes on");
  });

  it("fails a snapshot that turns out to be beyond its quota, thaws its sandbox and keeps nothing of it", async () => {
    await restart({ config: { memoryQuotaBytes: 1 } });
    const id = await running(1);
    ok(await snapshot(1));
    expect(await node.receiver.nth(1)).toMatchObject({
      status: "failed",
      reason: "quota_exceeded",
      error: expect.stringContaining("may take 1"),
    });
    await expect.poll(() => node.memoryFolders(), PATIENT).toEqual([]);
    expect(await keys()).toEqual([]);
    gateway.driver.work(id, "goes on");
  });

  it("takes snapshots again when an image has gone", async () => {
    const id = await stored(1);
    const { sizeBytes } = ok(await gateway.client.call(contract.listSnapshots)).snapshots[0] ?? { sizeBytes: 0 };
    await restart({ config: { memoryQuotaBytes: sizeBytes + 10 } });
    await running(2);
    ok(await snapshot(2));
    expect(await node.receiver.nth(2)).toMatchObject({ status: "failed", reason: "quota_exceeded" });
    ok(await gateway.client.call(contract.deleteSnapshot, { params: { snapshotId: id } }));
    await expect.poll(async () => (await snapshot(2)).kind, PATIENT).toBe("ok");
    expect(await node.receiver.nth(3)).toMatchObject({ status: "completed" });
  });

  it("refuses a snapshot that there is no memory to write through, and a restore too, and loses neither", async () => {
    const id = await stored(1);
    await restart({ config: { stagingBytes: 10 } });
    await running(2);
    expect(await snapshot(2)).toMatchObject({ kind: "refused", status: 503, code: "no_capacity", mayRetry: true });
    expect(await restore(id)).toMatchObject({ kind: "refused", status: 503, code: "no_capacity", mayRetry: true });
    await restart();
    ok(await restore(id));
  });

  it("tells what its images take and may take", async () => {
    await stored(1);
    await restart({ config: { memoryQuotaBytes: 5_000 } });
    const { memoryImages } = ok(await gateway.client.call(contract.node));
    const { snapshots } = ok(await gateway.client.call(contract.listSnapshots));
    expect(memoryImages).toEqual({ usedBytes: snapshots[0]?.sizeBytes, quotaBytes: 5_000 });
    expect(snapshots[0]?.plainBytes).toBeGreaterThan(10_000);
  });
});

describe("a gateway that is killed leaves no key and nothing in clear behind", PATIENT, () => {
  it.each(["freeze", "save"] as const)("in the middle of a %s", async (call) => {
    await running(1);
    node.host.failNext(call, "hang");
    ok(await snapshot(1));
    await expect.poll(() => node.host.calls.some((one) => one.startsWith(call)), PATIENT).toBe(true);
    await restart();
    expect(await keys()).toEqual([]);
    expect(await staged()).toEqual([]);
    expect(await node.memoryFolders()).toEqual([]);
  });

  it.each(["prepare", "restore"] as const)("in the middle of a wake's %s: the image and its key stay together", async (call) => {
    const id = await stored();
    node.host.failNext(call, "hang");
    restore(id).catch(() => undefined); // its gateway is killed
    await expect.poll(() => node.host.calls.some((one) => one.startsWith(call)), PATIENT).toBe(true);
    await restart();
    expect(await staged()).toEqual([]);
    expect(await keys()).toEqual([`${id}.key`]);
    ok(await restore(id));
    await expect.poll(keys, PATIENT).toEqual([]);
  });

  it("between a key and its image, or an image and its key", async () => {
    const id = await stored();
    await node.kill(gateway);
    await cp(gatewayPath("keys", `${id}.key`), gatewayPath("keys", "mem_0000000009aa.key"));
    await writeFile(gatewayPath("keys", "mem_0000000008aa.key.tmp"), "half");
    gateway = await node.start();
    expect(await keys()).toEqual([`${id}.key`]);
    ok(await restore(id));
  });
});
