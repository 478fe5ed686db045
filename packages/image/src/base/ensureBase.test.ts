import { spawnSync } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, stat, utimes } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { basesDir } from "../layout.ts";
import { readTree, treeDigest } from "../tree.ts";
import { ensureBase, type BaseImage } from "./ensureBase.ts";

describe("the base image", () => {
  let stateDir: string;

  beforeEach(async () => {
    stateDir = await mkdtemp(join(tmpdir(), "torpor-base-"));
  });

  afterEach(() => rm(stateDir, { recursive: true, force: true }));

  const ensure = (): Promise<BaseImage> => ensureBase({ stateDir, nodeExecPath: process.execPath });

  it("cannot be made of a Node that is not there, and leaves nothing behind", async () => {
    await expect(ensureBase({ stateDir, nodeExecPath: "/nowhere/node" })).rejects.toThrow("ENOENT");
    expect(await readdir(stateDir)).toEqual([]);
  });

  it("is made again when it was removed", async () => {
    const first = await ensure();
    await rm(first.dir, { recursive: true });
    const second = await ensure();
    expect(second.digest).toBe(first.digest);
    expect(treeDigest(await readTree(second.rootfs))).toBe(first.digest);
  });

  it("is one when it is made twice at once", async () => {
    const [first, second] = await Promise.all([ensure(), ensure()]);
    expect(first).toEqual(second);
    const names = (await readdir(basesDir(stateDir))).filter((name) => !name.startsWith("inputs-"));
    expect(names).toEqual([first.digest]);
  });

  it("is found the second time, untouched but young again", async () => {
    const { dir, rootfs } = await ensure();
    const node = join(rootfs, "usr/local/bin/node");
    const before = await stat(node);
    await utimes(dir, 1, 1);
    await ensure();
    expect((await stat(node)).ino).toBe(before.ino);
    expect((await stat(dir)).mtimeMs).toBeGreaterThan(1000);
  });

  it("has a Node that runs with nothing but the libraries beside it", async () => {
    const { rootfs, nodeVersion } = await ensure();
    const tree = await readTree(rootfs);
    const loader = tree.find(({ path }) => /\/ld-linux[^/]*$/.test(path));
    const libc = tree.find(({ path }) => path.endsWith("/libc.so.6"));
    const libraries = join(rootfs, libc!.path, "..");
    const ended = spawnSync(join(rootfs, loader!.path), [
      "--inhibit-cache",
      "--library-path",
      libraries,
      join(rootfs, "usr/local/bin/node"),
      "--version",
    ]);
    expect(ended.stdout.toString().trim()).toBe(nodeVersion);
  });

  it("has a user for tasks, host names from files and DNS, certificates, and a resolv.conf to mount over", async () => {
    const { rootfs } = await ensure();
    const etc = (name: string): Promise<string> => readFile(join(rootfs, "etc", name), "utf8");
    expect(await etc("passwd")).toContain("task:x:1000:1000:task:/home/task:");
    expect(await etc("nsswitch.conf")).toContain("hosts: files dns");
    expect(await etc("hosts")).toContain("127.0.0.1 localhost");
    expect(await etc("resolv.conf")).toBe("");
    expect((await etc("ssl/certs/ca-certificates.crt")).split("BEGIN CERTIFICATE").length).toBeGreaterThan(50);
  });
});
