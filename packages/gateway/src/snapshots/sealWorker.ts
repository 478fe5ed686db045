// A thread that seals and opens pieces of files. Files are opened, closed and synced by whoever asks; only their numbers come here.
import { readSync, writeSync } from "node:fs";
import { parentPort } from "node:worker_threads";
import { CHUNK_BYTES, openChunk, sealChunk, type ChunkPlace, type Encoding } from "./sealedFile.ts";

/** Where a sealed piece lies in its file. */
export interface ChunkSpot {
  readonly offset: number;
  readonly length: number;
  readonly encoding: Encoding;
}

interface Piece {
  readonly fromFd: number;
  readonly toFd: number;
  readonly fileKey: Uint8Array;
  readonly place: ChunkPlace;
}

export interface SealJob extends Piece {
  readonly kind: "seal";
  /** How much of the sealed file is taken, shared by all threads that write to it. */
  readonly end: BigUint64Array;
}

export interface OpenJob extends Piece {
  readonly kind: "open";
  readonly spot: ChunkSpot;
}

export type ChunkJob = SealJob | OpenJob;
export type ChunkResult =
  | { readonly kind: "sealed"; readonly spot: ChunkSpot }
  | { readonly kind: "opened" }
  | { readonly kind: "damaged" };
export interface ChunkOrder {
  readonly id: number;
  readonly job: ChunkJob;
}

/** `code` is the operating system's. */
export type ChunkAnswer =
  | { readonly id: number; readonly result: ChunkResult }
  | { readonly id: number; readonly error: string; readonly code: string | undefined };

/** Room for a piece that did not get smaller, with what belongs to it. */
const buffer = Buffer.allocUnsafe(CHUNK_BYTES + 64);

function seal({ fromFd, toFd, fileKey, place, end }: SealJob): ChunkResult {
  const plain = readFully(fromFd, place.plainBytes, place.index * CHUNK_BYTES);
  if (plain === undefined) throw new Error(`Cannot seal ${place.fileName}: it became shorter while it was read`);
  const { encoding, bytes } = sealChunk(fileKey, place, plain);
  const offset = Number(Atomics.add(end, 0, BigInt(bytes.length)));
  writeFully(toFd, bytes, offset);
  return { kind: "sealed", spot: { offset, length: bytes.length, encoding } };
}

function open({ fromFd, toFd, fileKey, place, spot }: OpenJob): ChunkResult {
  const bytes = spot.length <= buffer.length ? readFully(fromFd, spot.length, spot.offset) : undefined;
  const plain = bytes === undefined ? undefined : openChunk(fileKey, place, { encoding: spot.encoding, bytes });
  if (plain === undefined) return { kind: "damaged" };
  writeFully(toFd, plain, place.index * CHUNK_BYTES);
  return { kind: "opened" };
}

/** Undefined when the file ends before. */
function readFully(fd: number, length: number, offset: number): Uint8Array | undefined {
  for (let done = 0; done < length;) {
    const count = readSync(fd, buffer, done, length - done, offset + done);
    if (count === 0) return undefined;
    done += count;
  }
  return buffer.subarray(0, length);
}

function writeFully(fd: number, bytes: Uint8Array, offset: number): void {
  for (let done = 0; done < bytes.length;) done += writeSync(fd, bytes, done, bytes.length - done, offset + done);
}

/** What became of a piece. Its key, and what the task had in memory, do not stay in this thread's memory. */
function answerTo({ id, job }: ChunkOrder): ChunkAnswer {
  try {
    return { id, result: job.kind === "seal" ? seal(job) : open(job) };
  } catch (error) {
    const { message, code } = error as NodeJS.ErrnoException;
    return { id, error: message, code };
  } finally {
    job.fileKey.fill(0);
    buffer.fill(0, 0, job.place.plainBytes);
  }
}

// oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread has no origin
parentPort?.on("message", (order: ChunkOrder) => parentPort?.postMessage(answerTo(order) satisfies ChunkAnswer));
