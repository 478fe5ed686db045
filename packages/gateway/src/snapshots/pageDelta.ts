// A piece of memory as a difference to a base: the pages that the base has too are named by their number there. A sandbox that was
// cloned from a template shares half of its pages with it. Pure.
import { crc32 } from "node:zlib";

export const PAGE_BYTES = 4096;

/** Finds pages by their checksum. Both arrays may be shared among threads. */
export interface PageIndex {
  /** Page numbers plus one, at the checksum's place or the next free one after it; 0: free. Twice as many as pages, or more. */
  readonly slots: Uint32Array;
  readonly checksums: Uint32Array;
}

/** Reads one page of the base. The bytes are good until the next call. */
export type ReadPage = (page: number) => Uint8Array;

/** Copies pages of the base, in order, to `target`. False when the base does not have them. */
export type CopyPages = (page: number, count: number, target: Uint8Array) => boolean;

/** With fewer pages of the base than this share, naming them costs more than it saves. */
const WORTH = 1 / 8;
const LITERAL = 0xffff_ffff;
const HEADER_WORDS = 1;
const WORD_BYTES = Uint32Array.BYTES_PER_ELEMENT;

/** An empty index with room for a base of `sizeBytes`. A last page that is not whole is left out. */
export function emptyIndex(sizeBytes: number): PageIndex {
  const pages = Math.floor(sizeBytes / PAGE_BYTES);
  const slots = 2 ** Math.ceil(Math.log2(Math.max(2, pages * 2)));
  return { slots: shared(slots), checksums: shared(Math.max(1, pages)) };
}

/** Of many equal pages the first is found; of two different ones with one checksum, too: the other is then stored as it is. */
export function addPage({ slots, checksums }: PageIndex, page: number, bytes: Uint8Array): void {
  const checksum = crc32(bytes);
  checksums[page] = checksum;
  for (let at = checksum & (slots.length - 1); ; at = (at + 1) & (slots.length - 1)) {
    const taken = slots[at] ?? 0;
    if (taken === 0) slots[at] = page + 1;
    if (taken === 0 || checksums[taken - 1] === checksum) return;
  }
}

/** The difference; undefined when it would not pay. A checksum only proposes a page: what counts is that every byte is equal. */
export function encodePages(plain: Uint8Array, index: PageIndex, readPage: ReadPage): Uint8Array | undefined {
  const count = Math.ceil(plain.length / PAGE_BYTES);
  const words = new Uint32Array(HEADER_WORDS + count);
  words[0] = crc32(plain);
  const literals: Uint8Array[] = [];
  let last: number | undefined;
  for (let number = 0; number < count; number++) {
    const bytes = plain.subarray(number * PAGE_BYTES, (number + 1) * PAGE_BYTES);
    const found = bytes.length === PAGE_BYTES ? findPage(bytes, index, readPage, last) : undefined;
    words[HEADER_WORDS + number] = found ?? LITERAL;
    if (found === undefined) literals.push(bytes);
    last = found;
  }
  if (count - literals.length < count * WORTH) return undefined;
  return Buffer.concat([Buffer.from(words.buffer), ...literals]);
}

/**
 * The piece as it was, in the first bytes of `into`; undefined when the difference is not one, or the base is not the one that it was
 * made against.
 */
export function decodePages(encoded: Uint8Array, plainBytes: number, copyPages: CopyPages, into: Uint8Array): Uint8Array | undefined {
  const count = Math.ceil(plainBytes / PAGE_BYTES);
  const wordBytes = (HEADER_WORDS + count) * WORD_BYTES;
  if (encoded.length < wordBytes || into.length < plainBytes) return undefined;
  const words = new Uint32Array(HEADER_WORDS + count);
  Buffer.from(words.buffer).set(encoded.subarray(0, wordBytes));
  const plain = into.subarray(0, plainBytes);
  let literal = wordBytes;
  for (let number = 0; number < count;) {
    const first = words[HEADER_WORDS + number] ?? LITERAL;
    const run = runLength(words, HEADER_WORDS + number);
    const target = plain.subarray(number * PAGE_BYTES, Math.min(plainBytes, (number + run) * PAGE_BYTES));
    if (first !== LITERAL) {
      if (!copyPages(first, run, target)) return undefined;
    } else {
      if (literal + target.length > encoded.length) return undefined;
      target.set(encoded.subarray(literal, literal + target.length));
      literal += target.length;
    }
    number += run;
  }
  return literal === encoded.length && crc32(plain) === words[0] ? plain : undefined;
}

/** How many words from `at` on are literals, or pages that follow one another in the base. */
function runLength(words: Uint32Array, at: number): number {
  const first = words[at] ?? LITERAL;
  let length = 1;
  while (at + length < words.length && words[at + length] === (first === LITERAL ? LITERAL : first + length)) length++;
  return length;
}

/** Pages mostly follow one another as they do in the base: the next after the last one found is looked at first. */
function findPage(bytes: Uint8Array, { slots, checksums }: PageIndex, readPage: ReadPage, last: number | undefined): number | undefined {
  const checksum = crc32(bytes);
  const next = last === undefined ? undefined : last + 1;
  if (next !== undefined && checksums[next] === checksum && isSame(bytes, readPage(next))) return next;
  for (let at = checksum & (slots.length - 1); slots[at] !== 0; at = (at + 1) & (slots.length - 1)) {
    const page = (slots[at] ?? 0) - 1;
    if (page !== next && checksums[page] === checksum && isSame(bytes, readPage(page))) return page;
  }
  return undefined;
}

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

function shared(length: number): Uint32Array {
  return new Uint32Array(new SharedArrayBuffer(length * WORD_BYTES));
}
