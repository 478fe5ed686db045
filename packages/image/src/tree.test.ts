import { chmod, mkdir, mkdtemp, rm, symlink, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { readTree, treeDigest, type TreeEntry } from "./tree.ts";

async function fill(root: string): Promise<void> {
  await mkdir(join(root, "b"), { recursive: true });
  await writeFile(join(root, "b/file"), "content");
  await writeFile(join(root, "a"), "");
  await symlink("b/file", join(root, "link"));
}

function file(path: string, sha256: string): TreeEntry {
  return { kind: "file", path, mode: 0o644, sizeBytes: 0, sha256 };
}

describe("a tree's digest", () => {
  let dir: string;

  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "torpor-tree-"));
  });

  afterEach(() => rm(dir, { recursive: true, force: true }));

  async function digest(root = dir): Promise<string> {
    return treeDigest(await readTree(root));
  }

  it.each<[change: string, make: () => Promise<void>]>([
    ["a byte", () => writeFile(join(dir, "b/file"), "contenT")],
    ["a mode", () => chmod(join(dir, "b/file"), 0o755)],
    ["a folder's mode", () => chmod(join(dir, "b"), 0o700)],
    ["a file more", () => writeFile(join(dir, "c"), "")],
    ["an empty folder more", async () => void (await mkdir(join(dir, "c")))],
    [
      "a link's target",
      async () => {
        await rm(join(dir, "link"));
        await symlink("a", join(dir, "link"));
      },
    ],
  ])("changes with %s", async (_, make) => {
    await fill(dir);
    const before = await digest();
    await make();
    expect(await digest()).not.toBe(before);
  });

  it("is the same for the same content in another place and of another time", async () => {
    await fill(join(dir, "one"));
    await fill(join(dir, "two"));
    await utimes(join(dir, "two/b/file"), 1, 1);
    expect(await digest(join(dir, "one"))).toBe(await digest(join(dir, "two")));
  });

  it("cannot be made equal by moving a boundary between name and content", () => {
    expect(treeDigest([file("ab", "c")])).not.toBe(treeDigest([file("a", "bc")]));
  });
});
