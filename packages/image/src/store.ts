// The images of a state folder: find, check, and remove those that nobody needs.
import { readFile, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { Image, imageDigest, parseImageReference, type StoredImage } from "./image.ts";
import { basesDir, imageDir, imagesDir, makeWorkDir, namesIn, removeDeadWork } from "./layout.ts";
import { readTree } from "./tree.ts";

export type FindOutcome = { kind: "found"; stored: StoredImage } | { kind: "refused"; reason: "bad_reference" | "absent" };

/** Finds an image by `torpor/<project>@sha256:<digest>` or `sha256-<digest>`. Does not check its files: see `verifyImage`. */
export async function findImage(stateDir: string, reference: string): Promise<FindOutcome> {
  const digest = parseImageReference(reference);
  if (digest === undefined) return { kind: "refused", reason: "bad_reference" };
  const stored = await readStored(stateDir, digest);
  return stored === undefined ? { kind: "refused", reason: "absent" } : { kind: "found", stored };
}

/** All finished images, sorted by digest. */
export async function listImages(stateDir: string): Promise<StoredImage[]> {
  const found: StoredImage[] = [];
  for (const name of (await namesIn(imagesDir(stateDir))).toSorted()) {
    const digest = parseImageReference(name);
    const stored = digest === undefined ? undefined : await readStored(stateDir, digest);
    if (stored !== undefined) found.push(stored);
  }
  return found;
}

async function readStored(stateDir: string, digest: string): Promise<StoredImage | undefined> {
  const dir = imageDir(stateDir, digest);
  try {
    const image = Image.parse(JSON.parse(await readFile(join(dir, "image.json"), "utf8")));
    return { image, dir, rootfs: join(dir, "rootfs") };
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw new Error(`Cannot read ${join(dir, "image.json")}`, { cause: error });
  }
}

export type VerifyOutcome = { kind: "intact" } | { kind: "damaged"; expected: string; actual: string };

/** Reads every file of the image (about 0.2 s) and compares with its digest. */
export async function verifyImage({ image, rootfs }: StoredImage): Promise<VerifyOutcome> {
  const actual = imageDigest(await readTree(rootfs), image.run);
  return actual === image.digest ? { kind: "intact" } : { kind: "damaged", expected: image.digest, actual };
}

export interface CollectOptions {
  /** Digests of images that a deployment, a sandbox or a checkpoint still needs. */
  live: ReadonlySet<string>;
  nowMs: number;
  /** Younger images are kept: a build may not have announced its own yet. Default one hour. */
  graceMs?: number;
}

export interface Collected {
  images: string[];
  bases: string[];
  /** Left behind by builds that died. */
  workDirs: string[];
}

const GRACE_MS = 3_600_000;

/** Removes images that are not live, bases that no image is made of, and what dead builds left. Says what it removed. */
export async function collectGarbage(stateDir: string, options: CollectOptions): Promise<Collected> {
  const { live, nowMs, graceMs = GRACE_MS } = options;
  const isOld = async (path: string): Promise<boolean> => nowMs - (await stat(path)).mtimeMs >= graceMs;
  const collected: Collected = { images: [], bases: [], workDirs: [] };
  const usedBases = new Set<string>();
  for (const { image, dir } of await listImages(stateDir)) {
    if (live.has(image.digest) || !(await isOld(dir))) usedBases.add(image.base.digest);
    else {
      await removeAtOnce(stateDir, dir);
      collected.images.push(image.digest);
    }
  }
  for (const name of await namesIn(basesDir(stateDir))) {
    const dir = join(basesDir(stateDir), name);
    if (!/^[0-9a-f]{64}$/.test(name) || usedBases.has(name) || !(await isOld(dir))) continue;
    await removeAtOnce(stateDir, dir);
    collected.bases.push(name);
  }
  collected.workDirs.push(...(await removeDeadWork(imagesDir(stateDir))), ...(await removeDeadWork(basesDir(stateDir))));
  return collected;
}

/** Under its final name a folder is whole or absent, also when we die while removing it. */
async function removeAtOnce(stateDir: string, dir: string): Promise<void> {
  const workDir = await makeWorkDir(imagesDir(stateDir));
  await rename(dir, join(workDir, "removed"));
  await rm(workDir, { recursive: true, force: true });
}

function isAbsent(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ENOENT";
}
