// A thread that seals and opens pieces of files. Files are opened, closed and synced by whoever asks; only their numbers come here.
import { readSync, writeSync } from "node:fs";
import { parentPort } from "node:worker_threads";
import { addPage, decodePages, encodePages, PAGE_BYTES, type CopyPages, type PageIndex, type ReadPage } from "./pageDelta.ts";
import { CHUNK_BYTES, openChunk, sealChunk, type ChunkPlace, type Encoding, type Expand, type Shrink } from "./sealedFile.ts";

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
  readonly base: { readonly fd: number; readonly index: PageIndex } | undefined;
}

export interface OpenJob extends Piece {
  readonly kind: "open";
  readonly spot: ChunkSpot;
  readonly baseFd: number | undefined;
}

/** Fills the index of a base, which whoever asks shares with this thread. */
export interface IndexJob {
  readonly kind: "index";
  readonly fd: number;
  readonly index: PageIndex;
  readonly sizeBytes: number;
}

export type ChunkJob = SealJob | OpenJob | IndexJob;
export type ChunkResult = { readonly kind: "sealed"; readonly spot: ChunkSpot } | { readonly kind: "opened" | "damaged" | "indexed" };
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

/** A piece that is put together again: with new memory for each the system would spend as long on clearing it. */
const opened = Buffer.allocUnsafe(CHUNK_BYTES);

/** Pages of a base that are read at once: where one is found, its neighbours mostly follow. */
const window = Buffer.allocUnsafe(32 * PAGE_BYTES);

function seal({ fromFd, toFd, fileKey, place, end, base }: SealJob): ChunkResult {
  const plain = readFully(fromFd, place.plainBytes, place.index * CHUNK_BYTES);
  if (plain === undefined) throw new Error(`Cannot seal ${place.fileName}: it became shorter while it was read`);
  const shrink: Shrink | undefined = base && ((piece) => encodePages(piece, base.index, pagesOf(base.fd)));
  const { encoding, bytes } = sealChunk(fileKey, place, plain, shrink);
  const offset = Number(Atomics.add(end, 0, BigInt(bytes.length)));
  writeFully(toFd, bytes, offset);
  return { kind: "sealed", spot: { offset, length: bytes.length, encoding } };
}

function open({ fromFd, toFd, fileKey, place, spot, baseFd }: OpenJob): ChunkResult {
  const expand: Expand | undefined =
    baseFd === undefined ? undefined : (difference, plainBytes) => decodePages(difference, plainBytes, copierOf(baseFd), opened);
  const bytes = spot.length <= buffer.length ? readFully(fromFd, spot.length, spot.offset) : undefined;
  const plain = bytes === undefined ? undefined : openChunk(fileKey, place, { encoding: spot.encoding, bytes }, expand);
  if (plain === undefined) return { kind: "damaged" };
  writeFully(toFd, plain, place.index * CHUNK_BYTES);
  return { kind: "opened" };
}

function index({ fd, index: pages, sizeBytes }: IndexJob): ChunkResult {
  const count = Math.floor(sizeBytes / PAGE_BYTES);
  const readPage = pagesOf(fd);
  for (let page = 0; page < count; page++) addPage(pages, page, readPage(page));
  return { kind: "indexed" };
}

/** Reads a base's pages by way of the window, which is this piece's until the next. */
function pagesOf(fd: number): ReadPage {
  let first = 0;
  let count = 0;
  return (page) => {
    if (page < first || page >= first + count) {
      first = page;
      count = Math.floor(readSync(fd, window, 0, window.length, page * PAGE_BYTES) / PAGE_BYTES);
    }
    return count === 0 ? window.subarray(0, 0) : window.subarray((page - first) * PAGE_BYTES, (page - first + 1) * PAGE_BYTES);
  };
}

function copierOf(fd: number): CopyPages {
  return (page, _count, target) => readSync(fd, target, 0, target.length, page * PAGE_BYTES) === target.length;
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

function done(job: ChunkJob): ChunkResult {
  if (job.kind === "index") return index(job);
  return job.kind === "seal" ? seal(job) : open(job);
}

/** What became of a piece. Its key, and what the task had in memory, do not stay in this thread's memory. */
function answerTo({ id, job }: ChunkOrder): ChunkAnswer {
  try {
    return { id, result: done(job) };
  } catch (error) {
    const { message, code } = error as NodeJS.ErrnoException;
    return { id, error: message, code };
  } finally {
    if (job.kind !== "index") {
      job.fileKey.fill(0);
      buffer.fill(0, 0, job.place.plainBytes);
      if (job.kind === "open" && job.baseFd !== undefined) opened.fill(0, 0, job.place.plainBytes);
    }
  }
}

// oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread has no origin
parentPort?.on("message", (order: ChunkOrder) => parentPort?.postMessage(answerTo(order) satisfies ChunkAnswer));
