import { randomBytes } from "node:crypto";
import { describe, expect, it } from "vitest";
import { addPage, decodePages, emptyIndex, encodePages, PAGE_BYTES, type CopyPages, type ReadPage } from "./pageDelta.ts";

const base = randomBytes(64 * PAGE_BYTES + 100);
const pageOf = (bytes: Uint8Array, page: number) => bytes.subarray(page * PAGE_BYTES, (page + 1) * PAGE_BYTES);
const readPage: ReadPage = (page) => pageOf(base, page);
const copyFrom =
  (bytes: Uint8Array): CopyPages =>
  (page, count, target) => {
    if ((page + count) * PAGE_BYTES > bytes.length) return false;
    target.set(bytes.subarray(page * PAGE_BYTES, (page + count) * PAGE_BYTES));
    return true;
  };

function indexOf(bytes: Uint8Array) {
  const index = emptyIndex(bytes.length);
  for (let page = 0; page < Math.floor(bytes.length / PAGE_BYTES); page++) addPage(index, page, pageOf(bytes, page));
  return index;
}
const index = indexOf(base);

function roundTrip(plain: Uint8Array) {
  const encoded = encodePages(plain, index, readPage);
  return { encoded, decoded: encoded && decodePages(encoded, plain.length, copyFrom(base), Buffer.alloc(plain.length)) };
}

describe("a piece of memory as a difference to a base", () => {
  it("holds only what the base does not have, wherever in it the rest stands", () => {
    const own = randomBytes(PAGE_BYTES);
    const plain = Buffer.concat([pageOf(base, 7), pageOf(base, 8), own, pageOf(base, 3), pageOf(base, 63)]);
    const { encoded, decoded } = roundTrip(plain);
    expect(decoded).toEqual(plain);
    expect(encoded).toHaveLength(PAGE_BYTES + 4 * (1 + 5));
  });

  it("ends with what is less than a page", () => {
    const plain = Buffer.concat([pageOf(base, 1), Buffer.from("the end")]);
    expect(roundTrip(plain).decoded).toEqual(plain);
  });

  it("is not made when the base has next to nothing of it", () => {
    expect(roundTrip(randomBytes(16 * PAGE_BYTES)).encoded).toBeUndefined();
    expect(roundTrip(Buffer.concat([pageOf(base, 0), randomBytes(16 * PAGE_BYTES)])).encoded).toBeUndefined();
  });

  it("takes a page only when every byte of it is the base's, whatever the checksums say", () => {
    const liar = emptyIndex(base.length);
    addPage(liar, 0, pageOf(base, 5));
    const encoded = encodePages(pageOf(base, 5), liar, readPage);
    expect(encoded).toBeUndefined();
  });

  it("finds each of many equal pages", () => {
    const zeros = Buffer.alloc(16 * PAGE_BYTES);
    const zeroIndex = indexOf(zeros);
    const encoded = encodePages(zeros, zeroIndex, (page) => pageOf(zeros, page));
    expect(encoded).toHaveLength(4 * 17);
    expect(decodePages(encoded ?? zeros, zeros.length, copyFrom(zeros), Buffer.alloc(zeros.length))).toEqual(zeros);
  });

  it("does not open against a base in which one bit has changed, or that is shorter", () => {
    const plain = Buffer.concat([pageOf(base, 7), pageOf(base, 8)]);
    const { encoded } = roundTrip(plain);
    const other = Buffer.from(base);
    other[8 * PAGE_BYTES + 9] = (other[8 * PAGE_BYTES + 9] ?? 0) ^ 1;
    expect(decodePages(encoded ?? plain, plain.length, copyFrom(other), Buffer.alloc(plain.length))).toBeUndefined();
    expect(
      decodePages(encoded ?? plain, plain.length, copyFrom(base.subarray(0, 8 * PAGE_BYTES)), Buffer.alloc(plain.length)),
    ).toBeUndefined();
  });

  it.each([0, 5, -1])("does not open when it is cut or continued (%i)", (cut) => {
    const plain = Buffer.concat([pageOf(base, 7), randomBytes(PAGE_BYTES)]);
    const encoded = Buffer.from(roundTrip(plain).encoded ?? plain);
    const changed = cut < 0 ? Buffer.concat([encoded, Buffer.alloc(1)]) : encoded.subarray(0, encoded.length - 1 - cut);
    expect(decodePages(changed, plain.length, copyFrom(base), Buffer.alloc(plain.length))).toBeUndefined();
  });
});
