// What the gateway remembers of a sandbox, written to disk before each step, so that a killed gateway finds its way.
import { createHash } from "node:crypto";
import { mkdir, readFile, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { InstanceExit, InstanceState, MemoryImageId, RunnerId } from "@torpor/contracts";
import type { Log } from "@torpor/observe";
import { z } from "zod";
import { writeWhole } from "../fileWrites.ts";

const Strings = z.record(z.string(), z.string());

/** A snapshot that is under way or held. */
export const PendingSnapshot = z.object({
  memoryImageId: MemoryImageId,
  callback: z.object({ url: z.string(), metadata: Strings }),
  /** Null: the sandbox goes on as soon as its memory is written. */
  holdMs: z.number().nullable(),
  /** Wall time at which a held sandbox thaws by itself; null while its memory is being written. */
  heldUntilMs: z.number().nullable(),
});
export type PendingSnapshot = z.infer<typeof PendingSnapshot>;

export const SandboxRecord = z.object({
  id: z.string(),
  name: RunnerId,
  state: InstanceState,
  /** Hash of the request that asked for it: the same again gets the same answer. */
  requestHash: z.string(),
  /** The memory image it was restored from; null when it was created. */
  restoredFrom: MemoryImageId.nullable(),
  image: z.string(),
  imageDigest: z.string(),
  cpu: z.number(),
  memoryBytes: z.number(),
  /** The caller's own, kept without meaning. */
  metadata: z.record(z.string(), z.unknown()),
  labels: Strings,
  /** What its metadata address serves. */
  guestMetadata: Strings,
  address: z.string().nullable(),
  createdAtMs: z.number(),
  endedAtMs: z.number().nullable(),
  /** How it ended, when nobody had ended it. */
  exit: InstanceExit.nullable().default(null),
  snapshot: PendingSnapshot.nullable(),
});
export type SandboxRecord = z.infer<typeof SandboxRecord>;

/** Equal for equal requests, whatever the order of their fields. */
export function requestHash(request: unknown): string {
  return createHash("sha256").update(JSON.stringify(request, sortKeys)).digest("hex");
}

function sortKeys(_key: string, value: unknown): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

/** One file per sandbox. */
export class RecordStore {
  readonly #dir: string;

  constructor(dir: string) {
    this.#dir = dir;
  }

  async write(record: SandboxRecord): Promise<void> {
    await writeWhole(join(this.#dir, `${record.id}.json`), JSON.stringify(record));
  }

  async remove(id: string): Promise<void> {
    await rm(join(this.#dir, `${id}.json`), { force: true });
  }

  /**
   * All records. What a kill left half written is removed, and so is what cannot be read: a power cut can empty a file, and after
   * one no sandbox lives. If one lives all the same, nobody knows it, and it is destroyed.
   */
  async load(log: Log): Promise<SandboxRecord[]> {
    await mkdir(this.#dir, { recursive: true, mode: 0o700 });
    const records: SandboxRecord[] = [];
    for (const name of await readdir(this.#dir)) {
      const path = join(this.#dir, name);
      const record = name.endsWith(".json") ? readRecord(await readFile(path, "utf8")) : undefined;
      if (record !== undefined) records.push(record);
      else {
        log.warn({ path }, "a record that cannot be read is removed");
        await rm(path, { force: true });
      }
    }
    return records.toSorted((a, b) => a.createdAtMs - b.createdAtMs);
  }
}

function readRecord(text: string): SandboxRecord | undefined {
  try {
    return SandboxRecord.parse(JSON.parse(text));
  } catch {
    return undefined; // the caller says so and removes it
  }
}
