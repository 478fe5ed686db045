// The keys of this node's memory images (L16): one file each, wrapped by the node's key, in a folder apart from the images.
// An image whose key is gone is noise, whatever is left of its files. So a key is destroyed first and the files are deleted after.
import { randomBytes } from "node:crypto";
import { mkdir, open, readFile, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { MemoryImageId } from "@torpor/contracts";
import { codeOf, syncPath, writeDurably } from "../fileWrites.ts";
import { ImageKey } from "./imageKey.ts";
import type { Secret } from "@torpor/kernel";
import { NodeKey, readOrMakeNodeKey } from "./nodeKey.ts";

const SUFFIX = ".key";
const CHECK_FILE = "node.check";

export interface KeyringOptions {
  readonly dir: string;
  /** The node's key, as `parseNodeKey` gives it; without one it is kept in `nodeKeyFile`, and made there. */
  readonly nodeKey: Secret | undefined;
  readonly nodeKeyFile: string;
}

export class Keyring {
  readonly #options: KeyringOptions;
  #opened: NodeKey | undefined;

  constructor(options: KeyringOptions) {
    this.#options = options;
  }

  /** Ids of the images that have a key. Call once, first. Throws when the keys were wrapped by another node key. */
  async load(): Promise<MemoryImageId[]> {
    const { dir, nodeKey, nodeKeyFile } = this.#options;
    await mkdir(dir, { recursive: true, mode: 0o700 });
    this.#opened = nodeKey === undefined ? await readOrMakeNodeKey(nodeKeyFile) : new NodeKey(nodeKey);
    const ids: MemoryImageId[] = [];
    for (const name of await readdir(dir)) {
      const parsed = MemoryImageId.safeParse(name.slice(0, -SUFFIX.length));
      if (name.endsWith(SUFFIX) && parsed.success) ids.push(parsed.data);
      else if (name !== CHECK_FILE) await rm(join(dir, name), { force: true }); // half written when we were killed
    }
    await this.#checkNodeKey(ids.length);
    return ids;
  }

  /** Makes the key of a new image. When this resolves it is on disk. */
  async create(id: MemoryImageId): Promise<ImageKey> {
    const key = ImageKey.make();
    await writeDurably(this.#path(id), this.#nodeKey.wrap(id, key));
    return key;
  }

  /** The key of an image; undefined when there is none that can be read. */
  async open(id: MemoryImageId): Promise<ImageKey | undefined> {
    const wrapped = await readFile(this.#path(id)).catch((error: unknown) => {
      if (codeOf(error) !== "ENOENT") throw error;
      return undefined;
    });
    return wrapped === undefined ? undefined : this.#nodeKey.unwrap(id, wrapped);
  }

  /** Overwrites the key on the disk, then deletes it. Idempotent. */
  async destroy(id: MemoryImageId): Promise<void> {
    await shredFile(this.#path(id));
    await syncPath(this.#options.dir).catch((error: unknown) => {
      if (codeOf(error) !== "ENOENT") throw error; // the whole folder was removed
    });
  }

  /** Destroys everything: what was sealed by this node is noise from now on. */
  async shred(): Promise<void> {
    await shredKeys(this.#options.dir, this.#options.nodeKeyFile);
  }

  get #nodeKey(): NodeKey {
    if (this.#opened === undefined) throw new Error("Cannot use the keys of memory images: they were not loaded");
    return this.#opened;
  }

  #path(id: MemoryImageId): string {
    return join(this.#options.dir, `${id}${SUFFIX}`);
  }

  /** With another node key every image would look damaged, and be deleted: a wrong setting must not cost that. */
  async #checkNodeKey(count: number): Promise<void> {
    const path = join(this.#options.dir, CHECK_FILE);
    const written = await readFile(path, "utf8").catch(() => "");
    if (this.#nodeKey.isThatOf(written)) return;
    if (written !== "" && count > 0)
      throw new Error(
        `Cannot read the ${count} memory images of this node: TORPOR_MEMORY_KEY is not the key they were written with. Set that one, or delete ${this.#options.dir}: their runs start over`,
      );
    await writeDurably(path, this.#nodeKey.checkValue());
  }
}

/** Overwrites every file of a folder of keys, and a node's key, before they are deleted. Idempotent. */
export async function shredKeys(dir: string, nodeKeyFile: string): Promise<void> {
  for (const name of await readdir(dir).catch(() => [] as string[])) await shredFile(join(dir, name));
  await shredFile(nodeKeyFile);
}

/** What the disk's own wear-levelling, or a file system that copies on writing, keeps of the old bytes is out of our reach. */
async function shredFile(path: string): Promise<void> {
  const handle = await open(path, "r+").catch((error: unknown) => {
    if (codeOf(error) !== "ENOENT") throw error;
    return undefined;
  });
  if (handle === undefined) return;
  try {
    const { size } = await handle.stat();
    await handle.write(randomBytes(size), 0, size, 0);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rm(path, { force: true });
}
