// The templates of this node on its disk: `<key>/` is whole, `<key>.writing/` is half there and removed by the next start. No
// secret is in them (a template has seen no run), so they are plain files, which the page cache shares among all clones.
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, readFile, readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { z } from "zod";
import { renameDurably, syncPath, writeWhole } from "../fileWrites.ts";

const MANIFEST = "manifest.json";
const Hex = z.string().regex(/^[0-9a-f]{64}$/);

export const TemplateManifest = z.object({
  schema: z.literal(1),
  key: Hex,
  imageDigest: Hex,
  cpu: z.number(),
  memoryGb: z.number(),
  createdAtMs: z.number(),
  /** How long it took to make. */
  tookMs: z.number(),
  files: z.array(z.object({ name: z.string(), sizeBytes: z.number().int(), sha256: Hex })),
});
export type TemplateManifest = z.infer<typeof TemplateManifest>;

interface Known {
  readonly manifest: TemplateManifest;
  lastUsedMs: number;
  /** Clones that are being started from it. */
  users: number;
  /** What its files were when every byte of them was last checked: size, inode and times of change. Undefined: never by us. */
  checked: string | undefined;
}

export class TemplateFiles {
  readonly #dir: string;
  readonly #known = new Map<string, Known>();

  constructor(dir: string) {
    this.#dir = dir;
  }

  /** Reads what is there, and removes what is half there or unreadable. Call once, before anything else. */
  async load(): Promise<void> {
    await mkdir(this.#dir, { recursive: true, mode: 0o700 });
    for (const name of await readdir(this.#dir)) {
      const manifest = Hex.safeParse(name).success ? await readManifest(join(this.#dir, name)) : undefined;
      if (manifest?.key === name) this.#known.set(name, { manifest, lastUsedMs: manifest.createdAtMs, users: 0, checked: undefined });
      else await rm(join(this.#dir, name), { recursive: true, force: true });
    }
  }

  list(): { readonly manifest: TemplateManifest; readonly lastUsedMs: number; readonly isUsed: boolean; readonly sizeBytes: number }[] {
    return [...this.#known.values()].map(({ manifest, lastUsedMs, users }) => ({
      manifest,
      lastUsedMs,
      isUsed: users > 0,
      sizeBytes: manifest.files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    }));
  }

  has(key: string): boolean {
    return this.#known.has(key);
  }

  /** An empty folder to write to; what an earlier try left in it is removed. */
  async begin(key: string): Promise<string> {
    const dir = this.#writing(key);
    await rm(dir, { recursive: true, force: true });
    await mkdir(dir, { mode: 0o700 });
    return dir;
  }

  /** Hashes and syncs the files that were written: from now on clones may be made of them, also after a power cut. */
  async complete(key: string, facts: Omit<TemplateManifest, "schema" | "key" | "files">): Promise<void> {
    const dir = this.#writing(key);
    const files = await Promise.all((await readdir(dir)).map((name) => measure(dir, name)));
    const manifest = TemplateManifest.parse({ schema: 1, key, ...facts, files });
    await writeWhole(join(dir, MANIFEST), JSON.stringify(manifest));
    await syncPath(join(dir, MANIFEST));
    await syncPath(dir);
    await renameDurably(dir, join(this.#dir, key));
    this.#known.set(key, { manifest, lastUsedMs: facts.createdAtMs, users: 0, checked: await this.#identity(manifest) });
  }

  /** Removes what `begin` began. Idempotent. */
  async giveUp(key: string): Promise<void> {
    await rm(this.#writing(key), { recursive: true, force: true });
  }

  /**
   * What is wrong with a template's files, or undefined. Every byte is read when they changed since they were last checked, or
   * were not checked by this process: bytes that flipped are not noticed by a restore, they just run.
   */
  async damage(key: string): Promise<string | undefined> {
    const known = this.#known.get(key);
    if (known === undefined) return "it is gone";
    const identity = await this.#identity(known.manifest);
    if (identity === undefined) return "a file is missing";
    if (identity === known.checked) return undefined;
    for (const { name, sizeBytes, sha256 } of known.manifest.files) {
      const found = await measure(join(this.#dir, key), name).catch(() => undefined);
      if (found?.sizeBytes !== sizeBytes || found.sha256 !== sha256) return `${name} is not as it was written`;
    }
    known.checked = identity;
    return undefined;
  }

  /** Lends a template's folder. It is not removed meanwhile. */
  async use<T>(key: string, nowMs: number, work: (dir: string) => Promise<T>): Promise<T> {
    const known = this.#known.get(key);
    if (known === undefined) throw new Error(`Cannot use template ${key}: it is gone`);
    known.users++;
    known.lastUsedMs = nowMs;
    try {
      return await work(join(this.#dir, key));
    } finally {
      known.users--;
      if (known.users === 0 && !this.#known.has(key)) await rm(join(this.#dir, key), { recursive: true, force: true });
    }
  }

  /** From now on nobody is cloned from it; its files go with its last user. Idempotent. */
  async remove(key: string): Promise<void> {
    const known = this.#known.get(key);
    this.#known.delete(key);
    if (known?.users === 0) await rm(join(this.#dir, key), { recursive: true, force: true });
  }

  #writing(key: string): string {
    return join(this.#dir, `${key}.writing`);
  }

  async #identity({ key, files }: TemplateManifest): Promise<string | undefined> {
    const marks: string[] = [];
    for (const { name } of files) {
      const found = await stat(join(this.#dir, key, name), { bigint: true }).catch(() => undefined);
      if (found === undefined) return undefined;
      marks.push([name, found.ino, found.size, found.mtimeNs, found.ctimeNs].join(" "));
    }
    return marks.join("\n");
  }
}

async function measure(dir: string, name: string): Promise<TemplateManifest["files"][number]> {
  const path = join(dir, name);
  const hash = createHash("sha256");
  await Promise.all([pipeline(createReadStream(path, { highWaterMark: 1024 * 1024 }), hash), syncPath(path)]);
  return { name, sizeBytes: (await stat(path)).size, sha256: hash.digest("hex") };
}

async function readManifest(dir: string): Promise<TemplateManifest | undefined> {
  const text = await readFile(join(dir, MANIFEST), "utf8").catch(() => "");
  try {
    return TemplateManifest.parse(JSON.parse(text));
  } catch {
    return undefined; // the caller removes it
  }
}
