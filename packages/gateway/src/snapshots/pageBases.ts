// What memory images are a difference to: the memory of templates. Each is linked into a folder of our own when the first image needs
// it, which costs no byte, and removed with the last: whatever becomes of the template meanwhile, its images can be opened.
import { link, mkdir, open, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { codeOf } from "../fileWrites.ts";
import { emptyIndex, type PageIndex } from "./pageDelta.ts";
import type { SharedBase } from "./sealer.ts";
import type { SealThreads } from "./sealThreads.ts";

/** Which task image, and how large a machine, a sandbox is of. */
export interface SandboxKind {
  readonly imageDigest: string;
  readonly machine: { readonly cpu: number; readonly memoryBytes: number };
}

/** Memory in clear, without a secret, on the same file system as the images. */
export interface FoundBase {
  /** Another name for every other content: letters, digits and dashes. */
  readonly id: string;
  readonly path: string;
}

export type BaseFor = (kind: SandboxKind) => FoundBase | undefined;

/** An index takes 12 bytes for each page: 400 KB for a template. */
const MAX_INDEXES = 16;

export class PageBases {
  readonly #dir: string;
  readonly #baseFor: BaseFor;
  readonly #linked = new Set<string>();
  readonly #borrowed = new Map<string, number>();
  readonly #indexes = new Map<string, Promise<PageIndex>>();

  constructor(dir: string, baseFor: BaseFor) {
    this.#dir = dir;
    this.#baseFor = baseFor;
  }

  /** Reads what is there, and removes what no image needs. Call once, before anything else. */
  async load(inUse: ReadonlySet<string>): Promise<void> {
    await mkdir(this.#dir, { recursive: true, mode: 0o700 });
    for (const id of await readdir(this.#dir)) this.#linked.add(id);
    await this.collect(inUse);
  }

  /** What an image of this kind may be a difference to, until it is given back; undefined: nothing. Never throws: it only saves room. */
  async borrow(kind: SandboxKind, threads: SealThreads): Promise<SharedBase | undefined> {
    const found = this.#baseFor(kind);
    if (found === undefined) return undefined;
    this.#borrowed.set(found.id, (this.#borrowed.get(found.id) ?? 0) + 1);
    try {
      await this.#link(found);
      return { id: found.id, path: this.#path(found.id), index: await this.#indexOf(found.id, threads) };
    } catch {
      this.#return(found.id);
      return undefined; // the template has just been removed, or its disk fails: then the image stands for itself
    }
  }

  /** Ends what `borrow` began. From then on only the images that need it keep it from being collected. */
  giveBack(base: SharedBase | undefined): void {
    if (base !== undefined) this.#return(base.id);
  }

  /** For opening what was sealed against it; the file may be missing. */
  find(id: string | undefined): SharedBase | undefined {
    return id === undefined ? undefined : { id, path: this.#path(id) };
  }

  /** Removes what neither an image nor anybody who seals one needs. */
  async collect(inUse: ReadonlySet<string>): Promise<void> {
    for (const id of this.#linked) {
      if (inUse.has(id) || this.#borrowed.has(id)) continue;
      this.#linked.delete(id);
      this.#indexes.delete(id);
      await rm(this.#path(id), { recursive: true, force: true });
    }
  }

  async #link({ id, path }: FoundBase): Promise<void> {
    if (this.#linked.has(id)) return;
    await link(path, this.#path(id)).catch((error: unknown) => {
      if (codeOf(error) !== "EEXIST") throw error;
    });
    this.#linked.add(id);
  }

  #indexOf(id: string, threads: SealThreads): Promise<PageIndex> {
    const known = this.#indexes.get(id);
    if (known !== undefined) return known;
    const making = makeIndex(this.#path(id), threads);
    making.catch(() => this.#indexes.delete(id)); // whoever asked is told
    this.#indexes.set(id, making);
    const oldest = this.#indexes.keys().next();
    if (this.#indexes.size > MAX_INDEXES && oldest.done !== true) this.#indexes.delete(oldest.value);
    return making;
  }

  #return(id: string): void {
    const left = (this.#borrowed.get(id) ?? 1) - 1;
    if (left === 0) this.#borrowed.delete(id);
    else this.#borrowed.set(id, left);
  }

  #path(id: string): string {
    return join(this.#dir, id);
  }
}

async function makeIndex(path: string, threads: SealThreads): Promise<PageIndex> {
  const handle = await open(path, "r");
  try {
    const { size } = await handle.stat();
    const index = emptyIndex(size);
    await threads.run({ kind: "index", fd: handle.fd, index, sizeBytes: size }, "sleep");
    return index;
  } finally {
    await handle.close();
  }
}
