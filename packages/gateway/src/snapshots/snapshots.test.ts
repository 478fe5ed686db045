// Snapshots over the gateway's HTTP contract, with the fake driver: every end that a snapshot can have.
import { createHmac } from "node:crypto";
import { readFile, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { RunnerId, type MemoryImageId, type SnapshotBody } from "@torpor/contracts";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { contract, FakeNode, ok, TOKEN, type FakeGateway } from "../testing/fakeGateway.ts";

const name = RunnerId.parse("runner-1");
let node: FakeNode;
let gateway: FakeGateway;
let sandboxId: string;

beforeEach(async () => {
  node = await FakeNode.make();
  await restart({});
});
afterEach(() => node.close());

/** A gateway with one running sandbox. */
async function restart(options: Parameters<FakeNode["start"]>[0]): Promise<void> {
  gateway = await node.start(options);
  sandboxId = ok(
    await gateway.client.call(contract.createInstance, {
      body: { name, image: "torpor/p@1", env: {}, cpu: 1, memory_gb: 0.5, metadata: {} },
    }),
  ).id;
}

function request(more: Partial<SnapshotBody> = {}): SnapshotBody {
  return {
    callback: { url: node.receiver.url, metadata: { runId: "run_1", nonce: "n1" } },
    extensions: ["hold"],
    hold_ms: 30_000,
    ...more,
  };
}

const snapshot = (more: Partial<SnapshotBody> = {}) =>
  gateway.client.call(contract.snapshotInstance, { params: { name }, body: request(more) });
const cancel = () => gateway.client.call(contract.cancelSnapshot, { params: { name } });
const commit = (snapshotId: MemoryImageId) => gateway.client.call(contract.commitSnapshot, { params: { snapshotId } });
const abort = (snapshotId: MemoryImageId) => gateway.client.call(contract.abortSnapshot, { params: { snapshotId } });
const restore = (snapshotId: MemoryImageId, as = "runner-2", memory = 0.5) =>
  gateway.client.call(contract.restoreSnapshot, {
    params: { snapshotId },
    body: { name: RunnerId.parse(as), metadata: { TRIGGER_RUNNER_ID: as }, cpu: 1, memory_gb: memory },
  });
const state = async () => ok(await gateway.client.call(contract.getInstance, { params: { name } })).state;
const folder = (id: MemoryImageId) => join(node.dir, "gateway", "memory", id);
const images = async () => ok(await gateway.client.call(contract.listSnapshots)).snapshots;
const events = async () => ok(await gateway.client.call(contract.events, { query: { after: 0, wait_ms: 0 } })).events;

/** Takes a snapshot and waits until it is held. */
async function held(): Promise<MemoryImageId> {
  const accepted = ok(await snapshot());
  const { length } = node.receiver.bodies;
  const callback = await node.receiver.nth(
    length + (node.receiver.bodies.some((one) => one.status === "completed" && one.snapshot_id === accepted?.snapshot_id) ? 0 : 1),
  );
  if (callback.status !== "completed") throw new Error(`Expected a snapshot: ${JSON.stringify(callback)}`);
  return callback.snapshot_id;
}

async function stored(): Promise<MemoryImageId> {
  const id = await held();
  ok(await commit(id));
  return id;
}

/** The task goes on, and nothing of the snapshot is left. */
async function expectAwakeWithoutFiles(): Promise<void> {
  await expect.poll(state).toBe("running");
  gateway.driver.work(sandboxId, "goes on");
  await expect.poll(() => node.memoryFolders()).toEqual([]);
}

describe("a snapshot that is held", () => {
  it("is frozen until it is committed, then destroyed, then it may be restored with what it had in memory", async () => {
    gateway.driver.work(sandboxId, "remembered");
    const id = await held();
    expect(await state()).toBe("held");
    expect(() => gateway.driver.work(sandboxId, "no")).toThrow("does not run");
    expect(await node.memoryFolders()).toEqual([`${id}.held`]);
    ok(await commit(id));
    expect(node.host.sandboxes.size).toBe(0);
    const restored = ok(await restore(id));
    expect(node.host.sandboxes.get(restored.id)?.memory).toContain("remembered");
    await expect.poll(() => node.memoryFolders()).toEqual([]);
  });

  it("cannot be restored while its sandbox exists (L5)", async () => {
    const id = await held();
    expect(await restore(id)).toMatchObject({ kind: "refused", status: 409, code: "sandbox_frozen" });
  });

  it("goes on and leaves no file when it is aborted, and aborting again says the same", async () => {
    const id = await held();
    expect(ok(await abort(id))).toEqual({ outcome: "thawed" });
    await expectAwakeWithoutFiles();
    expect(ok(await abort(id))).toEqual({ outcome: "thawed" });
  });

  it("is thawed by itself when its time is over, and says so", async () => {
    const id = await held();
    await gateway.clock.advance(30_000);
    await expectAwakeWithoutFiles();
    await expect.poll(events).toMatchObject([{ type: "thawed", name, reason: "hold_expired" }]);
    expect(await commit(id)).toMatchObject({ kind: "refused", status: 409, code: "snapshot_stale" });
  });

  it("is not thawed a moment before its time is over", async () => {
    await held();
    await gateway.clock.advance(29_000);
    expect(await state()).toBe("held");
  });

  it("is committed once more after a lost answer, also when it was restored meanwhile", async () => {
    const id = await stored();
    expect(ok(await commit(id))).toEqual({ outcome: "committed" });
    ok(await restore(id));
    expect(ok(await commit(id))).toEqual({ outcome: "committed" });
  });

  it("cannot be committed after it was aborted", async () => {
    const id = await held();
    ok(await abort(id));
    expect(await commit(id)).toMatchObject({ kind: "refused", status: 409, mayRetry: false });
    await expectAwakeWithoutFiles();
  });

  it("is either committed or aborted when both come at once", async () => {
    const id = await held();
    const [committed, aborted] = await Promise.all([commit(id), abort(id)]);
    const won = committed.kind === "ok";
    expect(ok(aborted).outcome).toBe(won ? "none" : "thawed");
    expect(node.host.sandboxes.size).toBe(won ? 0 : 1);
    expect((await node.memoryFolders()).length).toBe(won ? 1 : 0);
  });

  it("is not deleted from under its sandbox", async () => {
    const id = await held();
    expect(await gateway.client.call(contract.deleteSnapshot, { params: { snapshotId: id } })).toMatchObject({
      kind: "refused",
      status: 409,
    });
  });

  it("is deleted with its instance", async () => {
    await held();
    ok(await gateway.client.call(contract.deleteInstance, { params: { name } }));
    expect(node.host.sandboxes.size).toBe(0);
    expect(await node.memoryFolders()).toEqual([]);
  });

  it("can be committed after its frozen sandbox was killed: nothing ran since it was saved", async () => {
    gateway.driver.work(sandboxId, "remembered");
    const id = await held();
    gateway.driver.exit(sandboxId, 137);
    ok(await commit(id));
    const restored = ok(await restore(id));
    expect(node.host.sandboxes.get(restored.id)?.memory).toContain("remembered");
  });

  it("is told as an exit when its frozen sandbox was killed and is then aborted", async () => {
    const id = await held();
    gateway.driver.exit(sandboxId, 137);
    expect(await events()).toEqual([]);
    ok(await abort(id));
    await expect.poll(events).toMatchObject([{ type: "exited", name }]);
    expect(await node.memoryFolders()).toEqual([]);
  });

  it("ends as an exit when it cannot be thawed: a task that stands still for ever looks alive", async () => {
    const id = await held();
    for (let count = 0; count < 5; count++) node.host.failNext("thaw", "refuse");
    const aborting = abort(id);
    await expect.poll(() => node.host.calls.filter((call) => call.startsWith("thaw")).length).toBe(1);
    await gateway.clock.advance(10_000);
    ok(await aborting);
    await expect.poll(events).toMatchObject([{ type: "exited", name, reason: "cannot_be_thawed" }]);
    await expect.poll(() => node.host.sandboxes.size).toBe(0);
  });
});

describe("a snapshot that is not held", () => {
  it("lets the sandbox go on and may be restored at once, without an answer body", async () => {
    expect(ok(await snapshot({ extensions: undefined } as unknown as Partial<SnapshotBody>))).toBeUndefined();
    const callback = await node.receiver.nth(1);
    expect(callback).toMatchObject({ status: "completed", held: false, instance_id: sandboxId, metadata: { runId: "run_1", nonce: "n1" } });
    expect(await state()).toBe("running");
    if (callback.status === "completed") ok(await restore(callback.snapshot_id));
  });

  it("is not granted an extension that nobody knows", async () => {
    expect(ok(await snapshot({ extensions: ["teleport"] }))).toMatchObject({ extensions: [] });
    expect(await node.receiver.nth(1)).toMatchObject({ status: "completed", held: false });
  });
});

describe("cancelling a snapshot (L4)", () => {
  it("says that there was nothing to cancel, for a running and for an unknown instance", async () => {
    expect(ok(await cancel())).toEqual({ outcome: "none" });
    const unknown = await gateway.client.call(contract.cancelSnapshot, { params: { name: RunnerId.parse("nobody") } });
    expect(ok(unknown)).toEqual({ outcome: "none" });
  });

  it("lets the sandbox go on when its freeze has not answered yet", async () => {
    node.host.failNext("freeze", "hang");
    ok(await snapshot());
    await expect.poll(() => node.host.calls).toContain(`freeze ${sandboxId}`);
    const canceling = cancel();
    await gateway.clock.advance(60_000);
    expect(ok(await canceling)).toEqual({ outcome: "thawed" });
    await expectAwakeWithoutFiles();
  });

  it("lets the sandbox go on while its memory is being written, without waiting for the write", async () => {
    await restartWith({ saveMs: 3_600_000 });
    ok(await snapshot());
    await expect.poll(() => node.host.calls).toContain(`save ${sandboxId}`);
    expect(ok(await cancel())).toEqual({ outcome: "thawed" });
    await expectAwakeWithoutFiles();
    expect(await node.receiver.nth(1)).toMatchObject({ status: "failed", reason: "canceled", metadata: { nonce: "n1" } });
  });

  it("lets a held sandbox go on", async () => {
    await held();
    expect(ok(await cancel())).toEqual({ outcome: "thawed" });
    await expectAwakeWithoutFiles();
  });

  it("aborts a snapshot by its id while it is being written", async () => {
    await restartWith({ saveMs: 3_600_000 });
    const accepted = ok(await snapshot());
    await expect.poll(() => node.host.calls).toContain(`save ${sandboxId}`);
    expect(ok(await abort(accepted!.snapshot_id))).toEqual({ outcome: "thawed" });
    await expectAwakeWithoutFiles();
  });

  it("leaves a sandbox that can be snapshotted again", async () => {
    await held();
    ok(await cancel());
    ok(await commit(await held()));
    expect(node.host.sandboxes.size).toBe(0);
  });

  it("leaves a committed image alone", async () => {
    const id = await stored();
    expect(ok(await cancel())).toEqual({ outcome: "none" });
    expect(ok(await abort(id))).toEqual({ outcome: "none" });
    ok(await restore(id));
  });
});

describe("a snapshot that fails", () => {
  it("is refused for a frozen sandbox, whether it is being written or held", async () => {
    await restartWith({ saveMs: 60_000 });
    ok(await snapshot());
    expect(await snapshot()).toMatchObject({ kind: "refused", status: 409, code: "sandbox_frozen" });
    ok(await cancel());
  });

  it("is refused with 503 when too many are being written, and tells nobody to wait for it", async () => {
    await restartWith({ saveMs: 60_000 }, { maxSnapshots: 1 });
    const other = RunnerId.parse("runner-9");
    ok(
      await gateway.client.call(contract.createInstance, {
        body: { name: other, image: "torpor/p@1", env: {}, cpu: 1, memory_gb: 0.5, metadata: {} },
      }),
    );
    ok(await snapshot());
    const second = await gateway.client.call(contract.snapshotInstance, { params: { name: other }, body: request() });
    expect(second).toMatchObject({ kind: "refused", status: 503, code: "no_capacity", mayRetry: true });
    ok(await cancel());
  });

  it.each(["disk_full", "checkpoint_failed"] as const)("thaws the sandbox and says why: %s", async (fault) => {
    node.host.failNext("save", fault);
    ok(await snapshot());
    expect(await node.receiver.nth(1)).toMatchObject({ status: "failed", reason: fault });
    await expectAwakeWithoutFiles();
  });

  it("thaws the sandbox when it cannot even be frozen", async () => {
    node.host.failNext("freeze", "refuse");
    ok(await snapshot());
    expect(await node.receiver.nth(1)).toMatchObject({ status: "failed", reason: "checkpoint_failed" });
    await expectAwakeWithoutFiles();
  });

  it.each(["freeze", "save"] as const)("tells the callback and the events when the sandbox dies in its %s", async (call) => {
    node.host.failNext(call, "dies");
    ok(await snapshot());
    expect(await node.receiver.nth(1)).toMatchObject({ status: "failed", reason: "sandbox_gone" });
    await expect.poll(events).toMatchObject([{ type: "exited", name, exitCode: 137 }]);
    await expect.poll(() => node.memoryFolders()).toEqual([]);
  });

  it("is refused with 503 when the disk is nearly full, before anything is frozen", async () => {
    await node.kill(gateway);
    gateway = await node.start({ config: { minFreeDiskBytes: Number.MAX_SAFE_INTEGER } });
    expect(await snapshot()).toMatchObject({ kind: "refused", status: 503, code: "no_capacity" });
    expect(await state()).toBe("running");
  });

  it("goes on when neither its record nor its callback can be written to disk", async () => {
    for (const folder of ["records", "outbox"]) {
      await rm(join(node.dir, "gateway", folder), { recursive: true, force: true });
      await writeFile(join(node.dir, "gateway", folder), "in the way");
    }
    const id = await stored();
    expect(await restore(id)).toMatchObject({ kind: "refused", code: "sandbox_not_started" }); // it could not be found again
    expect(await node.memoryFolders()).toEqual([id]);
  });

  it("ends with its instance when that is deleted", async () => {
    await restartWith({ saveMs: 3_600_000 });
    ok(await snapshot());
    ok(await gateway.client.call(contract.deleteInstance, { params: { name } }));
    expect(await node.memoryFolders()).toEqual([]);
    expect(node.host.sandboxes.size).toBe(0);
  });
});

describe("callbacks", () => {
  it("are signed over the whole body with a key derived from the token (L15)", async () => {
    await held();
    const sent = node.receiver.raw[0];
    const [, time, mac] = /^t=(\d+),v1=([0-9a-f]{64})$/.exec(sent?.signature ?? "") ?? [];
    const key = createHmac("sha256", TOKEN).update("torpor-snapshot-callback-v1").digest();
    expect(mac).toBe(createHmac("sha256", key).update(`${time}.${sent?.body}`).digest("hex"));
  });

  it("are repeated until they are acknowledged", async () => {
    node.receiver.answers.push(500, 503, 408, 200);
    ok(await snapshot());
    await expect.poll(() => gateway.clock.advance(250).then(() => node.receiver.raw.length), { timeout: 10_000 }).toBe(4);
    expect(new Set(node.receiver.raw.map(({ body }) => body)).size).toBe(1);
    await gateway.clock.advance(10_000);
    expect(node.receiver.raw).toHaveLength(4);
    expect(await state()).toBe("held");
  });

  it("that are refused for good thaw the held sandbox: nobody will commit it", async () => {
    node.receiver.answers.push(404);
    ok(await snapshot());
    await node.receiver.nth(1);
    await expectAwakeWithoutFiles();
    await expect.poll(events).toMatchObject([{ type: "thawed", reason: "callback_refused" }]);
  });

  it("that are refused for good delete an image that nobody knows of", async () => {
    node.receiver.answers.push(401);
    ok(await snapshot({ extensions: [] }));
    await node.receiver.nth(1);
    await expectAwakeWithoutFiles();
  });

  it("that were not acknowledged are sent again by the next start", async () => {
    node.receiver.answers.push(500);
    ok(await snapshot());
    await node.receiver.nth(1);
    await node.kill(gateway);
    gateway = await node.start();
    expect(await node.receiver.nth(2)).toEqual(await node.receiver.nth(1));
  });
});

describe("restoring", () => {
  it("consumes the image: a second restore under another name finds it gone (L6)", async () => {
    const id = await stored();
    ok(await restore(id, "runner-2"));
    expect(await restore(id, "runner-3")).toMatchObject({ kind: "refused", status: 404, code: "memory_image_gone" });
  });

  it("runs an image once when several ask for it at the same time (L6)", async () => {
    const id = await stored();
    const outcomes = await Promise.all([2, 3, 4, 5].map((count) => restore(id, `runner-${count}`)));
    expect(outcomes.filter(({ kind }) => kind === "ok")).toHaveLength(1);
    expect(outcomes.filter((outcome) => outcome.kind === "refused" && outcome.code === "memory_image_gone")).toHaveLength(3);
    expect(node.host.sandboxes.size).toBe(1);
  });

  it("answers the same instance to the same request: a lost answer is not a lost run", async () => {
    const id = await stored();
    const first = ok(await restore(id));
    expect(ok(await restore(id)).id).toBe(first.id);
    expect(node.host.sandboxes.size).toBe(1);
  });

  it("does not consume the image when the name is taken", async () => {
    const id = await stored();
    ok(
      await gateway.client.call(contract.createInstance, {
        body: { name: RunnerId.parse("runner-2"), image: "torpor/p@1", env: {}, cpu: 1, memory_gb: 0.5, metadata: {} },
      }),
    );
    expect(await restore(id)).toMatchObject({ kind: "refused", status: 409, code: "name_taken" });
    ok(await restore(id, "runner-3"));
  });

  it("gives the image back when it certainly did not run, so that it can be restored again", async () => {
    const id = await stored();
    node.host.failNext("restore", "refuse");
    expect(await restore(id)).toMatchObject({ kind: "refused", status: 500, code: "sandbox_not_started" });
    ok(await restore(id));
  });

  it("gives the image back when nothing could be made ready for it", async () => {
    const id = await stored();
    node.host.failNext("prepare", "refuse");
    expect(await restore(id)).toMatchObject({ kind: "refused", status: 500 });
    ok(await restore(id));
  });

  it.each(["dies", "lose_reply"] as const)("deletes the image and ends the sandbox when it may have run: %s", async (fault) => {
    const id = await stored();
    node.host.failNext("restore", fault);
    expect(await restore(id)).toMatchObject({ kind: "refused", status: 502, code: "sandbox_maybe_started", mayRetry: false });
    expect(await restore(id)).toMatchObject({ kind: "refused", code: "memory_image_gone" });
    expect(node.host.sandboxes.size).toBe(0);
    expect(await node.memoryFolders()).toEqual([]);
  });

  it("deletes a stored image, and deleting it again succeeds", async () => {
    const id = await stored();
    for (let count = 0; count < 2; count++)
      expect((await gateway.client.call(contract.deleteSnapshot, { params: { snapshotId: id } })).kind).toBe("ok");
    expect(await node.memoryFolders()).toEqual([]);
    expect(await restore(id)).toMatchObject({ kind: "refused", code: "memory_image_gone" });
  });

  it("lists what is stored, with its size and labels", async () => {
    const id = await stored();
    expect(await images()).toMatchObject([{ id, state: "stored", instanceName: name, sizeBytes: expect.any(Number) }]);
  });
});

describe("a memory image that does not fit is refused before anything starts", () => {
  it.each(["memory.img", "pages.img", "manifest.json"])("a flipped byte in %s", async (file) => {
    const id = await stored();
    const path = join(folder(id), file);
    const content = await readFile(path);
    const middle = Math.floor(content.length / 2);
    content[middle] = (content[middle] ?? 0) ^ 1;
    await writeFile(path, content);
    const before = node.host.calls.length;
    expect(await restore(id)).toMatchObject({
      kind: "refused",
      status: 422,
      code: "memory_image_refused",
      message: expect.stringContaining(file),
    });
    expect(node.host.calls.slice(before).filter((call) => call.startsWith("restore"))).toEqual([]);
    expect(node.host.sandboxes.size).toBe(0);
  });

  it("a file that is shorter", async () => {
    const id = await stored();
    await truncate(join(folder(id), "pages.img"), 50);
    expect(await restore(id)).toMatchObject({ kind: "refused", message: expect.stringContaining("pages.img has 50 bytes") });
  });

  it("a file that is missing", async () => {
    const id = await stored();
    await rm(join(folder(id), "pages.img"));
    expect(await restore(id)).toMatchObject({ kind: "refused", message: expect.stringContaining("pages.img is missing") });
  });

  it("another version of the driver, which is named", async () => {
    const id = await stored();
    await node.kill(gateway);
    gateway = await node.start({ driver: { fingerprint: { driver: "fake", version: "2" } } });
    expect(await restore(id)).toMatchObject({
      kind: "refused",
      code: "memory_image_refused",
      message: expect.stringContaining("version 1"),
    });
  });

  it("less memory than it had", async () => {
    const id = await stored();
    expect(await restore(id, "runner-2", 0.25)).toMatchObject({
      kind: "refused",
      code: "memory_image_refused",
      message: expect.stringContaining("too few"),
    });
  });
});

async function restartWith(driver: { saveMs: number }, config: { maxSnapshots?: number } = {}): Promise<void> {
  ok(await gateway.client.call(contract.deleteInstance, { params: { name } }));
  await node.kill(gateway);
  await restart({ driver, config });
}
