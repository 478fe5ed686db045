import { randomBytes } from "node:crypto";
import { mkdtemp, open, readFile, readdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import { MemoryImageId } from "@torpor/contracts";
import { Secret } from "@torpor/kernel";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Keyring, shredKeys } from "./keyring.ts";
import { parseNodeKey } from "./nodeKey.ts";

const one = MemoryImageId.parse("mem_0000000001aa");
const two = MemoryImageId.parse("mem_0000000002aa");
let dir: string;
const keys = () => join(dir, "keys");
const nodeKeyFile = () => join(dir, "memory.key");
const base64 = () => new Secret(randomBytes(32).toString("base64"));

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "torpor-keys-"));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

async function ring(nodeKey?: Secret): Promise<Keyring> {
  const opened = new Keyring({ dir: keys(), nodeKey, nodeKeyFile: nodeKeyFile() });
  await opened.load();
  return opened;
}

describe("the keys of memory images (L16)", () => {
  it("are found again by the next process, each its own", async () => {
    const first = await ring();
    const made = await first.create(one);
    await first.create(two);
    const second = await ring();
    expect((await second.open(one))?.reveal()).toEqual(made.reveal());
    expect((await second.open(two))?.reveal()).not.toEqual(made.reveal());
  });

  it("lie on the disk wrapped, readable by their owner alone", async () => {
    const made = await (await ring()).create(one);
    const file = join(keys(), `${one}.key`);
    expect((await readFile(file)).includes(Buffer.from(made.reveal()))).toBe(false);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect((await stat(keys())).mode & 0o777).toBe(0o700);
    expect((await stat(nodeKeyFile())).mode & 0o777).toBe(0o600);
  });

  it("are overwritten before they are deleted: who still has the file open reads noise", async () => {
    const opened = await ring();
    await opened.create(one);
    const file = join(keys(), `${one}.key`);
    const before = await readFile(file);
    const handle = await open(file, "r");
    await opened.destroy(one);
    expect(await handle.readFile()).not.toEqual(before);
    await handle.close();
    expect(await opened.open(one)).toBeUndefined();
    await opened.destroy(one);
  });

  it("never print", async () => {
    const made = await (await ring()).create(one);
    const hex = Buffer.from(made.reveal()).toString("hex");
    for (const text of [String(made), JSON.stringify({ made }), inspect(made, { depth: 9 })]) {
      expect(text).toContain("[secret]");
      expect(text).not.toContain(hex);
    }
  });

  it("do not open an image that they were not made for", async () => {
    const opened = await ring();
    await opened.create(one);
    await rename(join(keys(), `${one}.key`), join(keys(), `${two}.key`));
    expect(await opened.open(two)).toBeUndefined();
  });

  it.each([0, 30])("do not open with a flipped bit at %i, or when half of them is missing", async (at) => {
    const opened = await ring();
    await opened.create(one);
    const file = join(keys(), `${one}.key`);
    const wrapped = await readFile(file);
    wrapped[at] = (wrapped[at] ?? 0) ^ 1;
    await writeFile(file, wrapped);
    expect(await opened.open(one)).toBeUndefined();
    await writeFile(file, wrapped.subarray(0, 20));
    expect(await opened.open(one)).toBeUndefined();
  });

  it("are forgotten in memory when they are not needed any more", async () => {
    const made = await (await ring()).create(one);
    made.forget();
    expect([...made.reveal()].every((byte) => byte === 0)).toBe(true);
  });

  it("that a kill left half written are removed", async () => {
    await ring();
    await writeFile(join(keys(), `${one}.key.tmp`), "half");
    await ring();
    expect(await readdir(keys())).toEqual(["node.check"]);
  });
});

describe("the node's own key", () => {
  it("is taken from the environment, and then lies on no disk", async () => {
    await ring(base64());
    expect(await readdir(dir)).toEqual(["keys"]);
  });

  it("that is another one than the images were written with stops the start, instead of costing the images", async () => {
    const nodeKey = base64();
    await (await ring(nodeKey)).create(one);
    await expect(ring(base64())).rejects.toThrow("TORPOR_MEMORY_KEY is not the key they were written with");
    expect(await (await ring(nodeKey)).open(one)).toBeDefined();
  });

  it("may be changed while there are no images", async () => {
    const opened = await ring(base64());
    await opened.create(one);
    await opened.destroy(one);
    await (await ring(base64())).create(two);
  });

  it("that cannot be read stops the start and names its file", async () => {
    await writeFile(nodeKeyFile(), "short");
    await expect(ring()).rejects.toThrow(`Cannot use ${nodeKeyFile()}: it does not hold 32 bytes`);
  });

  it("is overwritten together with all keys when a plane is removed", async () => {
    await (await ring()).create(one);
    const handle = await open(nodeKeyFile(), "r");
    const before = await readFile(nodeKeyFile());
    await shredKeys(keys(), nodeKeyFile());
    expect(await handle.readFile()).not.toEqual(before);
    await handle.close();
    expect(await readdir(keys())).toEqual([]);
  });

  it.each(["", "short", "0".repeat(63), randomBytes(31).toString("base64")])("is not %j: it must be 32 bytes", (text) => {
    expect(parseNodeKey(text)).toBeUndefined();
  });
});
