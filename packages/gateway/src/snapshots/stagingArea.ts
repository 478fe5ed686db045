// Where memory lies in clear, for the moments between a sandbox and its sealed files: in memory, never on a disk (L16). Its size
// is bounded: who finds no room is refused, since a queue would let sandboxes stand still.
import { mkdir, readdir, rm, truncate } from "node:fs/promises";
import { join } from "node:path";
import type { Log } from "@torpor/observe";
import { codeOf } from "../fileWrites.ts";
import type { Urgency } from "./sealThreads.ts";
import { isTmpfs, mountTmpfs, unmountAll } from "./tmpfs.ts";

export interface StagingOptions {
  readonly dir: string;
  readonly limitBytes: number;
  /** False for drivers whose sandboxes exist only in a test: a plain folder does. */
  readonly inMemory: boolean;
  readonly log: Log;
}

/** Falling asleep leaves this share to waking: a node full of freezes must still be able to wake what it has. */
const SLEEP_SHARE = 0.75;
/** A file takes whole pages, and the sandbox's kernel saves a little besides its memory. */
const SLACK_BYTES = 16 * 1024 * 1024;

/** Room that is taken, for one sandbox. */
export interface StagedRoom {
  /** Makes the folder, on first call, and returns its path. Throws when it would not be in memory. */
  open(): Promise<string>;
  /** Deletes what is in it and gives the room back. Idempotent; never rejects. */
  release(): Promise<void>;
}

export class StagingArea {
  readonly #options: StagingOptions;
  #reservedBytes = 0;
  #next = 0;
  #warnings: readonly string[] = [];

  constructor(options: StagingOptions) {
    this.#options = options;
  }

  /** Sentences for the operator. */
  get warnings(): readonly string[] {
    return this.#warnings;
  }

  get reservedBytes(): number {
    return this.#reservedBytes;
  }

  /** Makes it ready; what an earlier process left is freed. Throws when the host refuses. */
  async open(): Promise<void> {
    const { dir, limitBytes, inMemory } = this.#options;
    await freeStaging(dir);
    if (!inMemory) return void (await mkdir(dir, { recursive: true, mode: 0o700 }));
    const mounted = await mountTmpfs(dir, limitBytes);
    if (mounted.kind === "failed") throw new Error(`Cannot mount a file system in memory on ${dir}: ${mounted.message}`);
    this.#warnings = mounted.kind === "swappable" ? [SWAP_WARNING] : [];
  }

  /** Takes room for `sizeBytes`; undefined when there is none now. */
  reserve(sizeBytes: number, urgency: Urgency): StagedRoom | undefined {
    const wantedBytes = sizeBytes + SLACK_BYTES;
    if (this.#reservedBytes + wantedBytes > this.#options.limitBytes * (urgency === "wake" ? 1 : SLEEP_SHARE)) return undefined;
    this.#reservedBytes += wantedBytes;
    const folder = join(this.#options.dir, `${urgency}-${this.#next++}`);
    let opened: Promise<string> | undefined;
    let released: Promise<void> | undefined;
    return {
      open: () => (opened ??= this.#makeFolder(folder)),
      release: () => (released ??= this.#release(folder, wantedBytes)),
    };
  }

  /** Takes it away. */
  async close(): Promise<void> {
    await freeStaging(this.#options.dir);
  }

  async #makeFolder(folder: string): Promise<string> {
    const { dir, inMemory } = this.#options;
    if (inMemory && !(await isTmpfs(dir))) throw new Error(`Cannot use ${dir}: it is not in memory any more; restart the gateway`);
    await mkdir(folder, { mode: 0o700 });
    return folder;
  }

  async #release(folder: string, wantedBytes: number): Promise<void> {
    try {
      await emptyFiles(folder);
      await rm(folder, { recursive: true, force: true });
    } catch (error) {
      // Its room is not given back: it is not free
      return this.#options.log.error({ err: error, folder }, "cannot delete memory that is in clear: it stays until the gateway ends");
    }
    this.#reservedBytes -= wantedBytes;
  }
}

/** A file that the sandbox's kernel has not closed yet keeps its memory when it is deleted, and loses it when it is cut. */
async function emptyFiles(folder: string): Promise<void> {
  const names = await readdir(folder).catch((error: unknown) => {
    if (codeOf(error) !== "ENOENT") throw error; // it was never opened
    return [] as string[];
  });
  await Promise.all(names.map((name) => truncate(join(folder, name))));
}

const SWAP_WARNING =
  "memory that is being written or restored may reach this machine's swap: use Linux 6.4 or newer, encrypt the swap, or switch it off";

/** Frees the area of a gateway that does not run, however it ended. Idempotent. */
export async function freeStaging(dir: string): Promise<void> {
  await unmountAll(dir);
  await rm(dir, { recursive: true, force: true });
}
