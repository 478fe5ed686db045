// How a file of a memory image lies on the disk: pieces of 1 MiB, each compressed if that pays and sealed with AES-256-GCM.
// What a piece is — of which image, which file, the how-manieth of how many, how long and how encoded — is bound into it: a piece
// that is changed, cut, left out, or put elsewhere does not open (L16).
import { createCipheriv, createDecipheriv } from "node:crypto";
import { constants, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { z } from "zod";

/** Large enough that a piece's 16 bytes and its message to a thread cost nothing, small enough that a wake never waits long behind it. */
export const CHUNK_BYTES = 1024 * 1024;

export const Encoding = z.enum(["raw", "zstd", "delta"]);
export type Encoding = z.infer<typeof Encoding>;

/** What a piece is; everything of it is authenticated with it. */
export interface ChunkPlace {
  readonly imageId: string;
  readonly fileName: string;
  readonly index: number;
  readonly count: number;
  readonly plainBytes: number;
  /** What a piece of this file may be a difference to; null: nothing. */
  readonly base: string | null;
}

/** The difference of a piece to its base, or undefined when it does not pay. */
export type Shrink = (plain: Uint8Array) => Uint8Array | undefined;
/** The piece again, or undefined when it is no difference to this base. */
export type Expand = (difference: Uint8Array, plainBytes: number) => Uint8Array | undefined;

export interface SealedChunk {
  readonly encoding: Encoding;
  readonly bytes: Uint8Array;
}

/** A difference names each of its pages: 4 bytes for each of 256, and a checksum. */
const DIFFERENCE_OVERHEAD_BYTES = 2_048;
/** A piece is unpacked in one step when there is a little more room than it takes: a buffer that is just full is followed by another. */
const UNPACK_BYTES = CHUNK_BYTES + 2 * DIFFERENCE_OVERHEAD_BYTES;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
/** Level 1: 149 MB of a waiting runner become 27 MB. Level 3 takes longer for 26 MB; faster levels save a sixth of the time for 31 MB. */
const COMPRESSION = { params: { [constants.ZSTD_c_compressionLevel]: 1 }, chunkSize: 256 * 1024 };
/** Compressed to more than this share of its size, a piece is stored as it is: opening it is then quicker. */
const WORTH = 0.9;

export function chunkCount(sizeBytes: number): number {
  return Math.max(1, Math.ceil(sizeBytes / CHUNK_BYTES));
}

/** Compresses and seals one piece. The key must not have sealed another file. */
export function sealChunk(fileKey: Uint8Array, place: ChunkPlace, plain: Uint8Array, shrink?: Shrink): SealedChunk {
  const difference = shrink?.(plain);
  const compressed = zstdCompressSync(difference ?? plain, COMPRESSION);
  const encoding = encodingOf(plain, difference, compressed);
  const cipher = createCipheriv("aes-256-gcm", fileKey, nonceOf(place)).setAAD(aadOf(place, encoding));
  const sealed = cipher.update(encoding === "raw" ? plain : compressed);
  cipher.final();
  return { encoding, bytes: Buffer.concat([sealed, cipher.getAuthTag()]) };
}

function encodingOf(plain: Uint8Array, difference: Uint8Array | undefined, compressed: Uint8Array): Encoding {
  if (compressed.length >= plain.length * WORTH) return "raw";
  return difference === undefined ? "zstd" : "delta";
}

/** The piece as it was; undefined when it is not that very piece, unchanged, or its base is not what it was. */
export function openChunk(
  fileKey: Uint8Array,
  place: ChunkPlace,
  { encoding, bytes }: SealedChunk,
  expand?: Expand,
): Uint8Array | undefined {
  if (bytes.length < TAG_BYTES) return undefined;
  const decipher = createDecipheriv("aes-256-gcm", fileKey, nonceOf(place))
    .setAAD(aadOf(place, encoding))
    .setAuthTag(bytes.subarray(-TAG_BYTES));
  const opened = decipher.update(bytes.subarray(0, -TAG_BYTES));
  try {
    decipher.final();
  } catch {
    return undefined; // changed, or another piece: the caller says which
  }
  const plain = decoded(opened, place, encoding, expand);
  return plain?.length === place.plainBytes ? plain : undefined;
}

function decoded(opened: Uint8Array, { plainBytes }: ChunkPlace, encoding: Encoding, expand: Expand | undefined): Uint8Array | undefined {
  if (encoding === "raw") return opened;
  const unpacked = zstdDecompressSync(opened, { maxOutputLength: plainBytes + DIFFERENCE_OVERHEAD_BYTES, chunkSize: UNPACK_BYTES });
  return encoding === "zstd" ? unpacked : expand?.(unpacked, plainBytes);
}

function nonceOf({ index }: ChunkPlace): Uint8Array {
  const nonce = Buffer.alloc(NONCE_BYTES);
  nonce.writeUInt32BE(index, NONCE_BYTES - 4);
  return nonce;
}

function aadOf(place: ChunkPlace, encoding: Encoding): Uint8Array {
  const { imageId, fileName, index, count, plainBytes } = place;
  return Buffer.from(JSON.stringify([3, imageId, fileName, index, count, plainBytes, encoding, encoding === "delta" ? place.base : null]));
}
