// Memory images as a difference to a template, with real files and threads.
import { randomBytes } from "node:crypto";
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MemoryImageId, RunnerId } from "@torpor/contracts";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Keyring } from "./keyring.ts";
import { MemoryImages } from "./memoryImages.ts";
import { PageBases, type FoundBase } from "./pageBases.ts";

const MIB = 1024 * 1024;
const one = MemoryImageId.parse("mem_0000000001aa");
const two = MemoryImageId.parse("mem_0000000002aa");
const never = new AbortController().signal;
const facts = {
  instanceId: "sbx1",
  instanceName: RunnerId.parse("runner-1"),
  image: "torpor/p@1",
  imageDigest: "d",
  fingerprint: {},
  machine: { cpu: 1, memoryBytes: 1 },
  address: null,
  labels: {},
  createdAtMs: 1,
  frozenMs: 1,
};
const template = randomBytes(3 * MIB);
/** Two thirds of it are the template's, moved by some pages. */
const memory = Buffer.concat([template.subarray(8_192, 2 * MIB + 8_192), randomBytes(MIB + 77)]);

let dir: string;
let base: FoundBase | undefined;
let images: MemoryImages;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "torpor-bases-"));
  base = { id: "base-1", path: join(dir, "template.img") };
  await writeFile(base.path, template);
  images = await open();
});
afterEach(async () => {
  await images.close();
  await rm(dir, { recursive: true, force: true });
});

async function open(): Promise<MemoryImages> {
  const keyring = new Keyring({ dir: join(dir, "keys"), nodeKey: undefined, nodeKeyFile: join(dir, "memory.key") });
  const opened = new MemoryImages(join(dir, "memory"), keyring, new PageBases(join(dir, "bases"), () => base));
  await opened.load();
  return opened;
}

async function seal(id: MemoryImageId): Promise<void> {
  const from = join(dir, `from-${id}`);
  await mkdir(from);
  await writeFile(join(from, "pages.img"), memory);
  await writeFile(join(from, "checkpoint.img"), "state");
  await images.begin(id);
  await images.seal(id, from, facts, never);
  await images.move(id, "store");
}

let opens = 0;
/** What comes out, or why nothing does. */
async function unsealed(id: MemoryImageId): Promise<Buffer | string> {
  const to = join(dir, `to-${opens++}`);
  await mkdir(to);
  const manifest = await images.restorable(id);
  if (manifest === undefined) return "no manifest";
  return (await images.unseal(id, manifest, to)) ?? (await readFile(join(to, "pages.img")));
}
const bases = () => readdir(join(dir, "bases"));

describe("a memory image that is a difference to a template", { timeout: 60_000 }, () => {
  it("takes the room of what the template does not have, and opens to what it was", async () => {
    await seal(one);
    expect(images.sizeBytes(one)).toBeLessThan(1.1 * MIB);
    expect(images.plainBytes(one)).toBe(memory.length + 5);
    expect(await unsealed(one)).toEqual(memory);
  });

  it("opens when the template has been removed since, also in the next process", async () => {
    await seal(one);
    await rm(join(dir, "template.img"));
    base = undefined;
    await images.close();
    images = await open();
    expect(await unsealed(one)).toEqual(memory);
  });

  it("keeps what it needs of the template until the last image is gone, and nothing after", async () => {
    await seal(one);
    await seal(two);
    expect(await bases()).toEqual(["base-1"]);
    await images.remove(one);
    expect(await unsealed(two)).toEqual(memory);
    await images.remove(two);
    expect(await bases()).toEqual([]);
    expect(await readFile(join(dir, "template.img"))).toEqual(template);
  });

  it("is not opened when a byte of the template has changed, or the template is gone altogether", async () => {
    await seal(one);
    const changed = Buffer.from(template);
    changed[MIB] = (changed[MIB] ?? 0) ^ 1;
    await writeFile(join(dir, "bases", "base-1"), changed);
    expect(await unsealed(one)).toContain("pages.img is damaged");
    await rm(join(dir, "bases", "base-1"));
    expect(await unsealed(one)).toContain("what it is a difference to");
  });

  it("stands for itself when the template cannot be read, or nothing is like it", async () => {
    base = { id: "base-2", path: join(dir, "not-there") };
    await seal(one);
    expect(await unsealed(one)).toEqual(memory);
    await writeFile(join(dir, "other.img"), randomBytes(MIB));
    base = { id: "base-3", path: join(dir, "other.img") };
    await seal(two);
    expect(await unsealed(two)).toEqual(memory);
    expect(await bases()).toEqual([]);
  });

  it("that was cut off while it was sealed leaves nothing of the template behind", async () => {
    const from = join(dir, "from");
    await mkdir(from);
    await writeFile(join(from, "pages.img"), memory);
    await images.begin(one);
    await expect(images.seal(one, from, facts, AbortSignal.abort())).rejects.toThrow("cut off");
    await images.remove(one);
    expect(await bases()).toEqual([]);
  });
});
