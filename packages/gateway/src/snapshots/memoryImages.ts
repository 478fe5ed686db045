// The memory images of this node: folders of files. What an image is, is said by its folder's name (`mem_x.writing`, `mem_x.held`,
// `mem_x.committing`, `mem_x`, `mem_x.consumed`), so each step of its life is one rename: done or not done, whenever we are killed.
import { mkdir, open, readFile, readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { MemoryImageId, TorporError } from "@torpor/contracts";
import { sleep, type Clock } from "@torpor/kernel";
import { codeOf, renameDurably, syncPath } from "../fileWrites.ts";
import { IMAGE_TRANSITIONS, type ImageEvent, type ImagePhase } from "../sandboxes/lifeCycle.ts";
import { FileHasher } from "./hashFile.ts";
import { openManifest, sealManifest, sizeOf, Manifest, type FileEntry } from "./manifest.ts";

const MANIFEST = "manifest.json";
const PHASES: readonly ImagePhase[] = ["stored", "writing", "held", "committing", "consumed"];
/** How often what is written so far is pushed to the disk while more is written: the sync at the end then has little left to do. */
const SYNC_EVERY_MS = 15;

export interface FoundImage {
  readonly id: MemoryImageId;
  readonly phase: ImagePhase;
}

export class MemoryImages {
  readonly #dir: string;
  readonly #clock: Clock;
  readonly #hasher = new FileHasher();
  readonly #phases = new Map<MemoryImageId, ImagePhase>();
  readonly #manifests = new Map<MemoryImageId, Manifest>();
  readonly #removing = new Set<Promise<void>>();

  constructor(dir: string, clock: Clock) {
    this.#dir = dir;
    this.#clock = clock;
  }

  /** Reads what is there. Call once, before anything else. */
  async load(): Promise<FoundImage[]> {
    await mkdir(this.#dir, { recursive: true, mode: 0o700 });
    this.#hasher.warmUp();
    for (const name of await readdir(this.#dir)) {
      const [id = "", phase = "stored"] = name.split(".");
      const parsed = MemoryImageId.safeParse(id);
      if (parsed.success && PHASES.includes(phase as ImagePhase)) this.#phases.set(parsed.data, phase as ImagePhase);
    }
    for (const { id, phase } of this.list()) if (phase !== "writing") await this.#loadManifest(id);
    return this.list();
  }

  list(): FoundImage[] {
    return [...this.#phases].map(([id, phase]) => ({ id, phase }));
  }

  phase(id: MemoryImageId): ImagePhase | undefined {
    return this.#phases.get(id);
  }

  manifest(id: MemoryImageId): Manifest | undefined {
    return this.#manifests.get(id);
  }

  /** Makes an empty folder to write to and returns its path. Throws when the disk refuses. */
  async begin(id: MemoryImageId): Promise<string> {
    await mkdir(this.#path(id, "writing"), { mode: 0o700 });
    this.#phases.set(id, "writing");
    return this.#path(id, "writing");
  }

  /** Pushes what is being written to the disk until `writing` settles, and returns what it yields. */
  async syncWhile<T>(id: MemoryImageId, writing: Promise<T>): Promise<T> {
    const settled = new AbortController();
    const done = writing.finally(() => settled.abort());
    done.catch(() => undefined); // it is returned, and thrown, below
    while (!settled.signal.aborted) {
      await this.#pushToDisk(this.#path(id, "writing"));
      await sleep(this.#clock, SYNC_EVERY_MS, settled.signal);
    }
    return await done;
  }

  /** Hashes and syncs the files and writes the manifest: after this the image is safe, under its old name. */
  async complete(id: MemoryImageId, facts: Omit<Manifest, "files" | "schema" | "id">): Promise<Manifest> {
    const dir = this.#path(id, "writing");
    const names = (await readdir(dir)).filter((name) => name !== MANIFEST);
    const files = await Promise.all(names.map((name) => this.#measure(dir, name)));
    const manifest = Manifest.parse({ schema: 1, id, ...facts, files });
    const handle = await open(join(dir, MANIFEST), "wx", 0o600);
    try {
      await handle.writeFile(sealManifest(manifest));
      await handle.sync();
    } finally {
      await handle.close();
    }
    await syncPath(dir);
    this.#manifests.set(id, manifest);
    return manifest;
  }

  /** Moves an image along the table of its life by one rename. Throws `memory_image_gone` when it is not where the step begins. */
  async move(id: MemoryImageId, event: ImageEvent): Promise<void> {
    const from = this.#phases.get(id);
    const to = from === undefined ? undefined : IMAGE_TRANSITIONS[from][event];
    if (from === undefined || to === undefined) throw gone(id, from);
    this.#phases.set(id, to); // before the rename: of two who come at once, one finds the other's phase
    try {
      await renameDurably(this.#path(id, from), this.#path(id, to));
    } catch (error) {
      this.#phases.set(id, from);
      if (codeOf(error) !== "ENOENT") throw error;
      this.#phases.delete(id);
      throw gone(id, undefined);
    }
  }

  /** The manifest of an image that may be restored. Throws `memory_image_gone`, or `sandbox_frozen` while its sandbox still exists (L5). */
  async restorable(id: MemoryImageId): Promise<Manifest> {
    const phase = this.#phases.get(id);
    if (phase === "writing" || phase === "held" || phase === "committing")
      throw new TorporError("sandbox_frozen", `Cannot restore ${id}: its sandbox still exists; commit the snapshot first`);
    if (phase !== "stored") throw gone(id, phase);
    // Read again: what counts is what is on the disk
    const manifest = await this.#readManifest(id);
    this.#mustBeStored(id);
    if (manifest === undefined) throw new TorporError("memory_image_refused", `Cannot restore ${id}: ${MANIFEST} is damaged or missing`);
    return manifest;
  }

  /** What is wrong with the files, or undefined when every byte is as it was written. Throws `memory_image_gone` when somebody else consumed it. */
  async damage(id: MemoryImageId, manifest: Manifest): Promise<string | undefined> {
    const dir = this.#path(id, "stored");
    const found = await Promise.all(manifest.files.map((file) => this.#fileDamage(dir, file)));
    this.#mustBeStored(id);
    return found.find((damage) => damage !== undefined);
  }

  /** Takes a stored image for one restore and returns its folder (L6). Throws `memory_image_gone` for everybody but the first. */
  async consume(id: MemoryImageId): Promise<string> {
    await this.move(id, "consume");
    return this.#path(id, "consumed");
  }

  /** Undoes `consume` for an image that certainly did not run. */
  async giveBack(id: MemoryImageId): Promise<void> {
    await this.move(id, "giveBack");
  }

  /** Deletes an image in any phase. Idempotent. */
  async remove(id: MemoryImageId): Promise<void> {
    const phase = this.#phases.get(id);
    this.#phases.delete(id);
    this.#manifests.delete(id);
    if (phase !== undefined) await rm(this.#path(id, phase), { recursive: true, force: true });
  }

  /** Deletes an image that nobody can use any more without being waited for: freeing 130 MB takes the file system 70 ms. */
  removeSoon(id: MemoryImageId, onError: (error: unknown) => void): void {
    const removing = this.remove(id)
      .catch(onError)
      .finally(() => this.#removing.delete(removing));
    this.#removing.add(removing);
  }

  sizeBytes(id: MemoryImageId): number {
    const manifest = this.#manifests.get(id);
    return manifest === undefined ? 0 : sizeOf(manifest);
  }

  async close(): Promise<void> {
    await Promise.all(this.#removing);
    await this.#hasher.close();
  }

  /** While we read an image somebody else may have consumed it: then what we read of it says nothing. */
  #mustBeStored(id: MemoryImageId): void {
    const phase = this.#phases.get(id);
    if (phase !== "stored") throw gone(id, phase);
  }

  #path(id: MemoryImageId, phase: ImagePhase): string {
    return join(this.#dir, phase === "stored" ? id : `${id}.${phase}`);
  }

  async #measure(dir: string, name: string): Promise<FileEntry> {
    const path = join(dir, name);
    const { size } = await stat(path);
    const [chunks] = await Promise.all([this.#hasher.hash(path, size), syncPath(path)]);
    return { name, sizeBytes: size, chunks };
  }

  async #fileDamage(dir: string, file: FileEntry): Promise<string | undefined> {
    const path = join(dir, file.name);
    const found = await stat(path).catch(() => undefined);
    if (found === undefined) return `${file.name} is missing`;
    if (found.size !== file.sizeBytes) return `${file.name} has ${found.size} bytes and should have ${file.sizeBytes}`;
    const chunks = await this.#hasher.hash(path, found.size).catch((error: unknown) => String(error));
    if (typeof chunks === "string") return `${file.name} cannot be read: ${chunks}`;
    return chunks.every((chunk, index) => chunk === file.chunks[index])
      ? undefined
      : `${file.name} is damaged: its checksum does not match`;
  }

  async #pushToDisk(dir: string): Promise<void> {
    for (const name of await readdir(dir).catch(() => [])) {
      await syncPath(join(dir, name)).catch((error: unknown) => {
        if (codeOf(error) !== "ENOENT") throw error;
      });
    }
  }

  async #loadManifest(id: MemoryImageId): Promise<void> {
    const manifest = await this.#readManifest(id);
    if (manifest !== undefined) this.#manifests.set(id, manifest); // one without is refused by name when somebody asks for it
  }

  async #readManifest(id: MemoryImageId): Promise<Manifest | undefined> {
    const text = await readFile(join(this.#path(id, this.#phases.get(id) ?? "stored"), MANIFEST), "utf8").catch(() => "");
    return openManifest(text);
  }
}

function gone(id: MemoryImageId, phase: ImagePhase | undefined): TorporError {
  const why = phase === "consumed" ? "it was restored already" : "this node does not have it";
  return new TorporError("memory_image_gone", `Cannot use memory image ${id}: ${why}`);
}
