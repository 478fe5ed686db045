// The memory images of this node: folders of sealed files. What an image is, is said by its folder's name (`mem_x.writing`,
// `mem_x.held`, `mem_x.committing`, `mem_x`, `mem_x.consumed`, `mem_x.refused`), so each step of its life is one rename: done or not
// done, whenever we are killed. An image lives as long as its key: the key is made first and destroyed first (L16).
import { mkdir, readFile, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { MemoryImageId, TorporError } from "@torpor/contracts";
import { codeOf, renameDurably } from "../fileWrites.ts";
import { IMAGE_TRANSITIONS, type ImageEvent, type ImagePhase } from "../sandboxes/lifeCycle.ts";
import { ImageFiles, MANIFEST, type ImageFacts } from "./imageFiles.ts";
import type { Keyring } from "./keyring.ts";
import { openManifest, plainSizeOf, sealedSizeOf, type Manifest } from "./manifest.ts";
import type { PageBases } from "./pageBases.ts";
import type { ImageOnDisk } from "./quota.ts";
import { gone, Refusals, refused } from "./refusals.ts";

/** Why an image is refused whose manifest does not open. */
export const UNREADABLE = `${MANIFEST} is damaged or missing, or its key is`;
const PHASES: readonly ImagePhase[] = ["stored", "writing", "held", "committing", "reserved", "consumed", "refused"];

export interface FoundImage {
  readonly id: MemoryImageId;
  readonly phase: ImagePhase;
}

export class MemoryImages {
  readonly #dir: string;
  readonly #keyring: Keyring;
  readonly #bases: PageBases;
  readonly #files: ImageFiles;
  readonly #phases = new Map<MemoryImageId, ImagePhase>();
  /** Renames that are under way: the phase has been taken, and the folder is not there yet. */
  readonly #renaming = new Map<MemoryImageId, Promise<void>>();
  readonly #manifests = new Map<MemoryImageId, Manifest>();
  readonly #refusals = new Refusals();
  readonly #removing = new Set<Promise<void>>();

  constructor(dir: string, keyring: Keyring, bases: PageBases) {
    this.#dir = dir;
    this.#keyring = keyring;
    this.#bases = bases;
    this.#files = new ImageFiles(keyring, bases);
  }

  /** Reads what is there. Keys without an image are destroyed. Call once, before anything else. */
  async load(): Promise<FoundImage[]> {
    await mkdir(this.#dir, { recursive: true, mode: 0o700 });
    this.#files.warmUp();
    const keys = await this.#keyring.load();
    for (const name of await readdir(this.#dir)) {
      const [id = "", phase = "stored"] = name.split(".");
      const parsed = MemoryImageId.safeParse(id);
      if (parsed.success && PHASES.includes(phase as ImagePhase)) this.#phases.set(parsed.data, phase as ImagePhase);
    }
    for (const id of keys) if (!this.#phases.has(id)) await this.#keyring.destroy(id);
    for (const { id, phase } of this.list()) if (phase !== "writing") await this.#readManifest(id);
    await this.#bases.load(this.#basesInUse());
    return this.list();
  }

  list(): FoundImage[] {
    return [...this.#phases].map(([id, phase]) => ({ id, phase }));
  }

  phase(id: MemoryImageId): ImagePhase | undefined {
    return this.#phases.get(id);
  }

  /** Undefined for what is still being written, and for what cannot be read. */
  manifest(id: MemoryImageId): Manifest | undefined {
    return this.#manifests.get(id);
  }

  /** Begins an image: its key, then its folder. Throws when the disk refuses. */
  async begin(id: MemoryImageId): Promise<void> {
    this.#phases.set(id, "writing");
    (await this.#keyring.create(id)).forget();
    await mkdir(this.#path(id, "writing"), { mode: 0o700 });
  }

  /** Seals the files in `from` and writes the manifest: after this the image is safe on the disk. Throws when it refuses, or `signal` fires. */
  async seal(id: MemoryImageId, from: string, facts: ImageFacts, signal: AbortSignal): Promise<Manifest> {
    try {
      const onSealed = (manifest: Manifest): void => void this.#manifests.set(id, manifest);
      return await this.#files.seal(id, { from, to: this.#path(id, "writing") }, facts, { signal, onSealed });
    } finally {
      await this.#bases.collect(this.#basesInUse());
    }
  }

  /** Moves an image along the table of its life by one rename. Throws `memory_image_gone` when it is not where the step begins. */
  async move(id: MemoryImageId, event: ImageEvent): Promise<void> {
    const from = this.#phases.get(id);
    const to = from === undefined ? undefined : IMAGE_TRANSITIONS[from][event];
    if (from === undefined || to === undefined) throw gone(id, from);
    this.#phases.set(id, to); // before the rename: of two who come at once, one finds the other's phase
    try {
      await this.#rename(id, from, to);
    } catch (error) {
      this.#phases.set(id, from);
      if (codeOf(error) !== "ENOENT") throw error;
      await this.remove(id); // somebody deleted its files: what is left is its key
      throw gone(id, undefined);
    }
  }

  /**
   * The manifest of an image that may be restored; undefined when it cannot be read. Throws `memory_image_gone`; `sandbox_frozen`
   * while its sandbox still exists (L5); `memory_image_refused` for one that was refused before, also after its files were deleted.
   */
  async restorable(id: MemoryImageId): Promise<Manifest | undefined> {
    await this.#renaming.get(id);
    const phase = this.#phases.get(id);
    if (phase === "writing" || phase === "held" || phase === "committing")
      throw new TorporError("sandbox_frozen", `Cannot restore ${id}: its sandbox still exists; commit the snapshot first`);
    if (phase === "reserved")
      throw new TorporError("sandbox_frozen", `Cannot restore ${id}: a sandbox was made ready from it; delete that first`);
    if (phase !== "stored") throw this.#gone(id);
    // Read again: what counts is what is on the disk
    const manifest = await this.#readManifest(id);
    this.#mustBeStored(id);
    return manifest;
  }

  /**
   * Writes the files as they were into `to`. Returns what is wrong with the sealed ones, or undefined; then `to` holds exactly what
   * was sealed. Throws `memory_image_gone` when somebody else consumed the image meanwhile.
   */
  async unseal(id: MemoryImageId, manifest: Manifest, to: string): Promise<string | undefined> {
    const damage = await this.#files.open(manifest, { from: this.#path(id, "stored"), to });
    this.#mustBeStored(id); // else what we read of it says nothing
    return damage;
  }

  /** Takes a stored image for one restore (L6). Throws `memory_image_gone` for everybody but the first. */
  async consume(id: MemoryImageId): Promise<void> {
    await this.move(id, "consume");
  }

  /**
   * The run of a reserved image goes on: from now on nobody can restore it. That is durable when this resolves, since who asked waits
   * for it before a task goes on (L6); key and files are deleted behind it. Idempotent.
   */
  async consumeReserved(id: MemoryImageId, onError: (error: unknown) => void): Promise<void> {
    if (this.#phases.get(id) !== "reserved") return await this.#renaming.get(id); // asked twice: the first is at it
    try {
      await this.move(id, "consume");
    } catch (error) {
      if (!(error instanceof TorporError && error.code === "memory_image_gone")) throw error; // as wanted
    }
    this.removeSoon(id, onError);
  }

  /** Undoes `consume` for an image that certainly did not run. */
  async giveBack(id: MemoryImageId): Promise<void> {
    await this.move(id, "giveBack");
  }

  /** Gives up an image that nobody can restore, for a cause that is remembered: it is deleted (L7). Throws `memory_image_refused`. */
  async refuse(id: MemoryImageId, cause: string): Promise<never> {
    this.#mustBeStored(id);
    this.#refusals.set(id, cause);
    await this.move(id, "refuse");
    throw refused(id, cause);
  }

  /** Deletes an image in any phase, its key first. Idempotent. */
  async remove(id: MemoryImageId): Promise<void> {
    const phase = this.#phases.get(id);
    this.#phases.delete(id);
    this.#manifests.delete(id);
    if (phase === undefined) return;
    await this.#keyring.destroy(id);
    await this.#renaming.get(id);
    await rm(this.#path(id, phase), { recursive: true, force: true });
    await this.#bases.collect(this.#basesInUse());
  }

  /** Deletes an image that nobody can use any more without being waited for. */
  removeSoon(id: MemoryImageId, onError: (error: unknown) => void): void {
    const removing = this.remove(id)
      .catch(onError)
      .finally(() => this.#removing.delete(removing));
    this.#removing.add(removing);
  }

  /** Bytes on the disk. */
  sizeBytes(id: MemoryImageId): number {
    const manifest = this.#manifests.get(id);
    return manifest === undefined ? 0 : sealedSizeOf(manifest);
  }

  /** Bytes as a sandbox is restored from them. */
  plainBytes(id: MemoryImageId): number {
    const manifest = this.#manifests.get(id);
    return manifest === undefined ? 0 : plainSizeOf(manifest);
  }

  onDisk(): ImageOnDisk[] {
    return this.list().map(({ id, phase }) => ({
      id,
      phase,
      sizeBytes: this.sizeBytes(id),
      createdAtMs: this.#manifests.get(id)?.createdAtMs ?? 0,
    }));
  }

  async close(): Promise<void> {
    await Promise.all(this.#removing);
    await this.#files.close();
  }

  async #rename(id: MemoryImageId, from: ImagePhase, to: ImagePhase): Promise<void> {
    const renaming = renameDurably(this.#path(id, from), this.#path(id, to));
    const over = renaming
      .catch(() => undefined) // the caller deals with it
      .finally(() => {
        if (this.#renaming.get(id) === over) this.#renaming.delete(id);
      });
    this.#renaming.set(id, over);
    await renaming;
  }

  /** While we read an image somebody else may have consumed it: then what we read of it says nothing. */
  #mustBeStored(id: MemoryImageId): void {
    if (this.#phases.get(id) !== "stored") throw this.#gone(id);
  }

  #gone(id: MemoryImageId): TorporError {
    const cause = this.#refusals.get(id);
    return cause === undefined ? gone(id, this.#phases.get(id)) : refused(id, cause);
  }

  #basesInUse(): Set<string> {
    return new Set([...this.#manifests.values()].flatMap(({ files }) => files.flatMap(({ base }) => base ?? [])));
  }

  #path(id: MemoryImageId, phase: ImagePhase): string {
    return join(this.#dir, phase === "stored" ? id : `${id}.${phase}`);
  }

  async #readManifest(id: MemoryImageId): Promise<Manifest | undefined> {
    const key = await this.#keyring.open(id);
    if (key === undefined) return undefined; // refused by name when somebody asks for it
    const text = await readFile(join(this.#path(id, this.#phases.get(id) ?? "stored"), MANIFEST), "utf8").catch(() => "");
    const manifest = openManifest(text, id, key);
    key.forget();
    if (manifest !== undefined) this.#manifests.set(id, manifest);
    return manifest;
  }
}
