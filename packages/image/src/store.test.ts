import { mkdir, mkdtemp, readdir, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { imageDigest, imageReference, parseImageReference, type Image } from "./image.ts";
import { basesDir, imageDir, imagesDir } from "./layout.ts";
import { collectGarbage, findImage, listImages, verifyImage } from "./store.ts";
import { readTree } from "./tree.ts";

const NOW_MS = 1_800_000_000_000;
const HOUR_MS = 3_600_000;
const BASE = "b".repeat(64);

const run: Image["run"] = {
  args: ["/usr/local/bin/node", "/app/x.mjs"],
  workingDir: "/app",
  user: { uid: 1000, gid: 1000 },
  env: { A: "1", B: "2" },
};

async function setAge(path: string, ageMs: number): Promise<void> {
  await utimes(path, (NOW_MS - ageMs) / 1000, (NOW_MS - ageMs) / 1000);
}

async function addFolder(path: string, ageMs: number): Promise<void> {
  await mkdir(path, { recursive: true });
  await setAge(path, ageMs);
}

describe("the image store", () => {
  let stateDir: string;

  beforeEach(async () => {
    stateDir = await mkdtemp(join(tmpdir(), "torpor-store-"));
  });

  afterEach(() => rm(stateDir, { recursive: true, force: true }));

  /** An image with one small file; the content makes the digest. */
  async function addImage(content: string, ageMs = 2 * HOUR_MS): Promise<Image> {
    const draft = join(stateDir, "draft/rootfs");
    await mkdir(draft, { recursive: true });
    await writeFile(join(draft, "file"), content);
    const digest = imageDigest(await readTree(draft), run);
    const dir = imageDir(stateDir, digest);
    await mkdir(join(dir, "rootfs"), { recursive: true });
    await writeFile(join(dir, "rootfs/file"), content);
    const backgroundWorker = { contentHash: "c", packageVersion: "4.8.3", cliPackageVersion: "4.8.3", tasks: [], sourceFiles: [] };
    const described = {
      projectRef: "proj_x",
      contentHash: "c",
      cliVersion: "4.8.3",
      sdkVersion: "4.8.3",
      workerManifest: { tasks: [] },
      backgroundWorker,
    };
    const image: Image = { schema: 1, digest, ...described, base: { digest: BASE, nodeVersion: "v24.0.0", arch: "x64" }, run };
    await writeFile(join(dir, "image.json"), JSON.stringify(image));
    await setAge(dir, ageMs);
    await rm(join(stateDir, "draft"), { recursive: true });
    return image;
  }

  const collect = (live: string[]) => collectGarbage(stateDir, { live: new Set(live), nowMs: NOW_MS });

  it("refuses what is not a reference, a path among them, and says when an image is absent", async () => {
    for (const bad of ["", "latest", "sha256-../../etc", `torpor/p@sha256:${"a".repeat(63)}`, `torpor/../p@sha256:${"a".repeat(64)}`]) {
      expect(await findImage(stateDir, bad)).toEqual({ kind: "refused", reason: "bad_reference" });
    }
    expect(await findImage(stateDir, `sha256-${"a".repeat(64)}`)).toEqual({ kind: "refused", reason: "absent" });
  });

  it("says which file it cannot read when an image's description is damaged", async () => {
    const { digest } = await addImage("x");
    await writeFile(join(imageDir(stateDir, digest), "image.json"), "{");
    await expect(findImage(stateDir, `sha256-${digest}`)).rejects.toThrow(/image\.json/);
  });

  it("sees a changed file, and a changed way to start", async () => {
    const image = await addImage("x");
    const [stored] = await listImages(stateDir);
    expect(await verifyImage(stored!)).toEqual({ kind: "intact" });
    expect(await verifyImage({ ...stored!, image: { ...image, run: { ...run, env: { A: "2" } } } })).toMatchObject({ kind: "damaged" });
    await writeFile(join(stored!.rootfs, "file"), "y");
    expect(await verifyImage(stored!)).toMatchObject({ kind: "damaged", expected: image.digest });
  });

  it("finds an image by both forms of its name", async () => {
    const image = await addImage("x");
    expect(imageReference(image)).toBe(`torpor/proj_x@sha256:${image.digest}`);
    expect(parseImageReference(imageReference(image))).toBe(image.digest);
    expect(await findImage(stateDir, imageReference(image))).toMatchObject({ kind: "found", stored: { image: { digest: image.digest } } });
    expect(await findImage(stateDir, `sha256-${image.digest}`)).toMatchObject({ kind: "found" });
  });

  it("lists nothing where there is nothing, and only finished images", async () => {
    expect(await listImages(stateDir)).toEqual([]);
    const { digest } = await addImage("x");
    await addFolder(join(imagesDir(stateDir), ".tmp-1-aa/rootfs"), 0);
    expect((await listImages(stateDir)).map(({ image }) => image.digest)).toEqual([digest]);
  });

  it("removes an image that nobody needs, and keeps live and young ones with their base", async () => {
    const dead = await addImage("dead");
    const live = await addImage("live");
    const young = await addImage("young", HOUR_MS / 2);
    await addFolder(join(basesDir(stateDir), BASE), 2 * HOUR_MS);
    expect(await collect([live.digest])).toEqual({ images: [dead.digest], bases: [], workDirs: [] });
    expect((await listImages(stateDir)).map(({ image }) => image.digest).toSorted()).toEqual([live.digest, young.digest].toSorted());
  });

  it("removes a base that no image is made of, unless a build may just be using it", async () => {
    await addFolder(join(basesDir(stateDir), BASE), 2 * HOUR_MS);
    const fresh = "c".repeat(64);
    await addFolder(join(basesDir(stateDir), fresh), 0);
    expect((await collect([])).bases).toEqual([BASE]);
    expect(await readdir(basesDir(stateDir))).toEqual([fresh]);
  });

  it("removes what dead builds left, and nothing of a build that lives", async () => {
    const [dead, alive] = [".tmp-99999999-aa", `.tmp-${process.pid}-bb`];
    await addFolder(join(imagesDir(stateDir), dead), 0);
    await addFolder(join(imagesDir(stateDir), alive), 0);
    expect((await collect([])).workDirs).toEqual([dead]);
    expect(await readdir(imagesDir(stateDir))).toEqual([alive]);
  });
});
