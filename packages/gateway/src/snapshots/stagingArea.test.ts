import { mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silentLog } from "@torpor/observe";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { execOrThrow } from "../drivers/gvisor/exec.ts";
import { freeStaging, StagingArea } from "./stagingArea.ts";
import { isTmpfs } from "./tmpfs.ts";

const MIB = 1024 * 1024;
const isRoot = process.getuid?.() === 0;
let parent: string;
let dir: string;

beforeEach(async () => {
  parent = await mkdtemp(join(tmpdir(), "torpor-staging-"));
  dir = join(parent, "area");
});
afterEach(async () => {
  await freeStaging(dir);
  await rm(parent, { recursive: true, force: true });
});

async function area(inMemory: boolean, limitBytes = 200 * MIB): Promise<StagingArea> {
  const made = new StagingArea({ dir, limitBytes, inMemory, log: silentLog });
  await made.open();
  return made;
}

const mounts = async () => (await readFile("/proc/self/mounts", "utf8")).split("\n").filter((line) => line.includes(dir));

describe("the room for memory in clear", () => {
  it("is refused when there is too little of it, at once, and given back when it is released", async () => {
    const staging = await area(false);
    const first = staging.reserve(100 * MIB, "wake");
    expect(first).toBeDefined();
    expect(staging.reserve(100 * MIB, "wake")).toBeUndefined();
    await first?.release();
    await first?.release();
    expect(staging.reservedBytes).toBe(0);
    expect(staging.reserve(100 * MIB, "wake")).toBeDefined();
  });

  it("leaves a quarter to waking, however many fall asleep", async () => {
    const staging = await area(false);
    expect(staging.reserve(100 * MIB, "sleep")).toBeDefined();
    expect(staging.reserve(20 * MIB, "sleep")).toBeUndefined();
    expect(staging.reserve(20 * MIB, "wake")).toBeDefined();
  });

  it("is empty after it was released", async () => {
    const staging = await area(false);
    const room = staging.reserve(MIB, "sleep");
    await writeFile(join((await room?.open()) ?? "", "pages.img"), "clear");
    expect(await readdir(dir)).toHaveLength(1);
    await room?.release();
    expect(await readdir(dir)).toEqual([]);
  });
});

describe.skipIf(!isRoot)(`the room for memory in clear, mounted${isRoot ? "" : " cannot be tried here: only root may mount"}`, () => {
  it("is in memory, for root alone, and never swapped", async () => {
    await area(true);
    expect(await isTmpfs(dir)).toBe(true);
    expect(await mounts()).toEqual([expect.stringMatching(/nosuid,nodev,noexec.*mode=700.*noswap/)]);
  });

  it("of a process that was killed is found and freed by the next, however often", async () => {
    for (let count = 0; count < 3; count++) {
      const room = (await area(true)).reserve(MIB, "wake");
      await writeFile(join((await room?.open()) ?? "", "pages.img"), "clear");
    }
    expect(await mounts()).toHaveLength(1);
    await area(true);
    expect(await readdir(dir)).toEqual([]);
    await freeStaging(dir);
    expect(await mounts()).toEqual([]);
    expect(await readdir(parent)).toEqual([]);
  });

  it("is not used any more when it has become a folder on a disk", async () => {
    const staging = await area(true);
    const room = staging.reserve(MIB, "sleep");
    await execOrThrow("umount", [dir], { timeoutMs: 5_000 });
    await expect(room?.open()).rejects.toThrow("it is not in memory any more");
    expect(await readdir(dir)).toEqual([]);
  });
});
