// Whole files, piece by piece on all threads: from the staging area to the disk when a sandbox falls asleep, and back when it wakes.
import { open, type FileHandle } from "node:fs/promises";
import type { FileEntry } from "./manifest.ts";
import type { PageIndex } from "./pageDelta.ts";
import { CHUNK_BYTES, chunkCount, type ChunkPlace } from "./sealedFile.ts";
import type { ChunkSpot } from "./sealWorker.ts";
import type { SealThreads } from "./sealThreads.ts";

export interface FileMove {
  readonly imageId: string;
  readonly name: string;
  readonly from: string;
  readonly to: string;
  readonly fileKey: Uint8Array;
  /** What its pieces may be a difference to. */
  readonly base?: SharedBase | undefined;
}

/** A base, and for sealing the index of its pages. */
export interface SharedBase {
  readonly id: string;
  readonly path: string;
  readonly index?: PageIndex;
}

/** Writes a sealed copy and syncs it. Throws when a disk refuses, and when `signal` fires; a half-written copy stays. */
export async function sealFile(threads: SealThreads, move: FileMove, signal: AbortSignal): Promise<FileEntry> {
  return await withFiles(move, async (from, to, baseFd) => {
    const index = move.base?.index;
    const base = baseFd === undefined || index === undefined ? undefined : { fd: baseFd, index };
    const { size } = await from.stat();
    const end = new BigUint64Array(new SharedArrayBuffer(BigUint64Array.BYTES_PER_ELEMENT));
    const pieces = placesOf(move, size).map(async (place) => {
      const job = { kind: "seal", fromFd: from.fd, toFd: to.fd, fileKey: move.fileKey, place, end, base } as const;
      const result = await threads.run(job, "sleep", signal);
      if (result.kind !== "sealed") throw new Error(`Cannot seal ${move.name}: a thread answered ${result.kind}`);
      return result.spot;
    });
    const spots = await allSettled(pieces);
    await to.datasync();
    const isDifference = spots.some(({ encoding }) => encoding === "delta");
    return {
      name: move.name,
      sizeBytes: size,
      sealedBytes: Number(end[0]),
      ...(isDifference && move.base !== undefined ? { base: move.base.id } : {}),
      chunks: spots.map(toEntry),
    };
  });
}

/** Writes the file as it was. Returns what is wrong with the sealed one, or undefined. Throws when `to` cannot be written. */
export async function openSealed(threads: SealThreads, move: FileMove, entry: FileEntry): Promise<string | undefined> {
  const places = placesOf(move, entry.sizeBytes);
  if (places.length !== entry.chunks.length) return `${move.name} should have ${places.length} pieces and has ${entry.chunks.length}`;
  return await withFiles(move, async (from, to, baseFd) => {
    const { size } = await from.stat();
    if (size !== entry.sealedBytes) return `${move.name} has ${size} bytes and should have ${entry.sealedBytes}`;
    const pieces = places.map(async (place) => {
      const spot = toSpot(entry.chunks[place.index]);
      const job = { kind: "open", fromFd: from.fd, toFd: to.fd, fileKey: move.fileKey, place, spot, baseFd } as const;
      return (await threads.run(job, "wake")).kind === "damaged" ? place.index : undefined;
    });
    const damaged = (await allSettled(pieces)).find((index) => index !== undefined);
    return damaged === undefined ? undefined : `${move.name} is damaged: its piece ${damaged} is not as it was sealed`;
  });
}

/** The files stay open until no thread uses them any more, also when a piece fails. */
async function allSettled<T>(pieces: readonly Promise<T>[]): Promise<T[]> {
  await Promise.allSettled(pieces);
  return await Promise.all(pieces);
}

async function withFiles<T>(
  { from, to, base }: FileMove,
  work: (from: FileHandle, to: FileHandle, baseFd: number | undefined) => Promise<T>,
): Promise<T> {
  const handles: FileHandle[] = [];
  const use = async (path: string, flags: string): Promise<FileHandle> => {
    const handle = await open(path, flags, 0o600);
    handles.push(handle);
    return handle;
  };
  try {
    const source = await use(from, "r");
    const pages = base === undefined ? undefined : await use(base.path, "r");
    return await work(source, await use(to, "wx"), pages?.fd);
  } finally {
    await Promise.all(handles.map((handle) => handle.close()));
  }
}

function placesOf({ imageId, name, base }: FileMove, sizeBytes: number): ChunkPlace[] {
  const count = chunkCount(sizeBytes);
  return Array.from({ length: count }, (_, index) => ({
    imageId,
    fileName: name,
    index,
    count,
    plainBytes: Math.min(CHUNK_BYTES, sizeBytes - index * CHUNK_BYTES),
    base: base?.id ?? null,
  }));
}

function toEntry({ offset, length, encoding }: ChunkSpot): FileEntry["chunks"][number] {
  return [offset, length, encoding];
}

function toSpot(entry: FileEntry["chunks"][number] | undefined): ChunkSpot {
  if (entry === undefined) throw new Error("Cannot find a piece that was counted");
  const [offset, length, encoding] = entry;
  return { offset, length, encoding };
}
