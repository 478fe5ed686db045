// How a file of a memory image lies on the disk: pieces of 1 MiB, each compressed if that pays and sealed with AES-256-GCM.
// What a piece is — of which image, which file, the how-manieth of how many, how long and how encoded — is bound into it: a piece
// that is changed, cut, left out, or put elsewhere does not open (L16).
import { createCipheriv, createDecipheriv } from "node:crypto";
import { constants, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { z } from "zod";

/** Large enough that a piece's 16 bytes and its message to a thread cost nothing, small enough that a wake never waits long behind it. */
export const CHUNK_BYTES = 1024 * 1024;

export const Encoding = z.enum(["raw", "zstd"]);
export type Encoding = z.infer<typeof Encoding>;

/** What a piece is; everything of it is authenticated with it. */
export interface ChunkPlace {
  readonly imageId: string;
  readonly fileName: string;
  readonly index: number;
  readonly count: number;
  readonly plainBytes: number;
}

export interface SealedChunk {
  readonly encoding: Encoding;
  readonly bytes: Uint8Array;
}

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
export function sealChunk(fileKey: Uint8Array, place: ChunkPlace, plain: Uint8Array): SealedChunk {
  const compressed = zstdCompressSync(plain, COMPRESSION);
  const encoding: Encoding = compressed.length < plain.length * WORTH ? "zstd" : "raw";
  const cipher = createCipheriv("aes-256-gcm", fileKey, nonceOf(place)).setAAD(aadOf(place, encoding));
  const sealed = cipher.update(encoding === "zstd" ? compressed : plain);
  cipher.final();
  return { encoding, bytes: Buffer.concat([sealed, cipher.getAuthTag()]) };
}

/** The piece as it was; undefined when it is not that very piece, unchanged. */
export function openChunk(fileKey: Uint8Array, place: ChunkPlace, { encoding, bytes }: SealedChunk): Uint8Array | undefined {
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
  const plain =
    encoding === "zstd" ? zstdDecompressSync(opened, { maxOutputLength: Math.max(64, place.plainBytes), chunkSize: CHUNK_BYTES }) : opened;
  return plain.length === place.plainBytes ? plain : undefined;
}

function nonceOf({ index }: ChunkPlace): Uint8Array {
  const nonce = Buffer.alloc(NONCE_BYTES);
  nonce.writeUInt32BE(index, NONCE_BYTES - 4);
  return nonce;
}

function aadOf(place: ChunkPlace, encoding: Encoding): Uint8Array {
  return Buffer.from(JSON.stringify([2, place.imageId, place.fileName, place.index, place.count, place.plainBytes, encoding]));
}
