// The files of a memory image: sealed from the staging area to the disk, and opened back.
import { open, readdir } from "node:fs/promises";
import { join } from "node:path";
import type { MemoryImageId } from "@torpor/contracts";
import { codeOf, syncPath } from "../fileWrites.ts";
import type { ImageKey } from "./imageKey.ts";
import type { Keyring } from "./keyring.ts";
import { Manifest, signManifest, type FileEntry } from "./manifest.ts";
import type { PageBases } from "./pageBases.ts";
import { openSealed, sealFile, type FileMove } from "./sealer.ts";
import { SealThreads } from "./sealThreads.ts";

export const MANIFEST = "manifest.json";
/** The file that holds the pages of the sandbox's memory; the others are small. */
const PAGES = "pages.img";

/** What is noted with an image, besides its files. */
export type ImageFacts = Omit<Manifest, "files" | "schema" | "id">;

/** Two folders. */
export interface FromTo {
  readonly from: string;
  readonly to: string;
}

export class ImageFiles {
  readonly #keyring: Keyring;
  readonly #bases: PageBases;
  readonly #threads = new SealThreads();

  constructor(keyring: Keyring, bases: PageBases) {
    this.#keyring = keyring;
    this.#bases = bases;
  }

  /** Starts what opens and seals ahead of the first image. */
  warmUp(): void {
    this.#threads.warmUp();
  }

  async close(): Promise<void> {
    await this.#threads.close();
  }

  /**
   * Seals the files in `from` and writes the manifest: after this the image is safe on the disk, and `onSealed` is told before what it
   * is a difference to is given back. Throws when the disk refuses, or `signal` fires.
   */
  async seal(
    id: MemoryImageId,
    { from, to }: FromTo,
    facts: ImageFacts,
    { signal, onSealed }: { readonly signal: AbortSignal; readonly onSealed: (manifest: Manifest) => void },
  ): Promise<Manifest> {
    const key = await this.#keyring.open(id);
    if (key === undefined) throw new Error(`Cannot seal ${id}: the key that was made for it cannot be read`);
    const base = await this.#bases.borrow(facts, this.#threads);
    try {
      const files = await Promise.all(
        (await readdir(from)).map((name) =>
          sealFile(this.#threads, { ...moveOf(id, name, { key, from, to }), base: name === PAGES ? base : undefined }, signal),
        ),
      );
      const manifest = Manifest.parse({ schema: 3, id, ...facts, files });
      await writeSynced(join(to, MANIFEST), signManifest(manifest, key));
      await syncPath(to);
      onSealed(manifest);
      return manifest;
    } finally {
      this.#bases.giveBack(base);
      key.forget();
    }
  }

  /** Writes the files as they were into `to`. Returns what is wrong with the sealed ones, or undefined; then `to` holds exactly what was sealed. */
  async open(manifest: Manifest, { from, to }: FromTo): Promise<string | undefined> {
    const { id } = manifest;
    const key = await this.#keyring.open(id);
    if (key === undefined) return "its key is damaged or missing";
    try {
      const opened = await Promise.all(
        manifest.files.map((file) =>
          this.#openFile({ ...moveOf(id, file.name, { key, from, to }), base: this.#bases.find(file.base) }, file),
        ),
      );
      return opened.find((damage) => damage !== undefined);
    } finally {
      key.forget();
    }
  }

  async #openFile(file: FileMove, entry: FileEntry): Promise<string | undefined> {
    try {
      return await openSealed(this.#threads, file, entry);
    } catch (error) {
      if (codeOf(error) === "ENOENT")
        return `${entry.name} is missing${entry.base === undefined ? "" : ", or what it is a difference to is"}`;
      if (codeOf(error) === "EIO") return `${entry.name} cannot be read: the disk fails`;
      throw error;
    }
  }
}

function moveOf(imageId: MemoryImageId, name: string, { key, from, to }: FromTo & { readonly key: ImageKey }): FileMove {
  return { imageId, name, from: join(from, name), to: join(to, name), fileKey: key.forFile(imageId, name) };
}

async function writeSynced(path: string, text: string): Promise<void> {
  const handle = await open(path, "wx", 0o600);
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
}
