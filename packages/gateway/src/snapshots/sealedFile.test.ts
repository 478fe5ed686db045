import { randomBytes } from "node:crypto";
import { describe, expect, it } from "vitest";
import { chunkCount, openChunk, sealChunk, type ChunkPlace } from "./sealedFile.ts";

const key = randomBytes(32);
const text = Buffer.from("what a task remembers ".repeat(200));
const place: ChunkPlace = { imageId: "mem_1", fileName: "pages.img", index: 3, count: 7, plainBytes: text.length, base: null };

describe("a piece of a sealed file (L16)", () => {
  it("opens to what it was, with nothing of it to be read before", () => {
    const sealed = sealChunk(key, place, text);
    expect(Buffer.from(sealed.bytes).includes("remembers")).toBe(false);
    expect(openChunk(key, place, sealed)).toEqual(text);
  });

  it("is compressed when that pays, and left as it is when not", () => {
    const noise = randomBytes(4_000);
    expect(sealChunk(key, place, text)).toMatchObject({ encoding: "zstd" });
    const sealed = sealChunk(key, { ...place, plainBytes: 4_000 }, noise);
    expect(sealed.encoding).toBe("raw");
    expect(sealed.bytes).toHaveLength(4_000 + 16);
    expect(openChunk(key, { ...place, plainBytes: 4_000 }, sealed)).toEqual(noise);
  });

  it.each([0, 20, -1])("does not open with a flipped bit at %i", (at) => {
    const sealed = sealChunk(key, place, text);
    const bytes = Buffer.from(sealed.bytes);
    const index = at < 0 ? bytes.length + at : at;
    bytes[index] = (bytes[index] ?? 0) ^ 1;
    expect(openChunk(key, place, { ...sealed, bytes })).toBeUndefined();
  });

  it.each([0, 8, 15, 40])("does not open when only %i bytes of it are left", (length) => {
    const sealed = sealChunk(key, place, text);
    expect(openChunk(key, place, { ...sealed, bytes: sealed.bytes.subarray(0, length) })).toBeUndefined();
  });

  it.each([
    ["another image", { imageId: "mem_2" }],
    ["another file", { fileName: "checkpoint.img" }],
    ["another place in its file", { index: 4 }],
    ["a file with fewer pieces", { count: 6 }],
    ["a shorter piece", { plainBytes: text.length - 1 }],
  ])("does not open as part of %s", (_what, other) => {
    expect(openChunk(key, { ...place, ...other }, sealChunk(key, place, text))).toBeUndefined();
  });

  it("does not open under another encoding, or with another key", () => {
    const sealed = sealChunk(key, place, text);
    expect(openChunk(key, place, { ...sealed, encoding: "raw" })).toBeUndefined();
    expect(openChunk(randomBytes(32), place, sealed)).toBeUndefined();
  });

  it("is a difference to its base when that pays, and opens with that base alone", () => {
    const based = { ...place, base: "base-1" };
    const expand = (difference: Uint8Array) => (Buffer.from(difference).toString() === "7" ? text : undefined);
    const sealed = sealChunk(key, based, text, () => Buffer.from("7"));
    expect(sealed.encoding).toBe("delta");
    expect(openChunk(key, based, sealed, expand)).toEqual(text);
    expect(openChunk(key, { ...place, base: "base-2" }, sealed, expand)).toBeUndefined();
    expect(openChunk(key, based, sealed)).toBeUndefined();
    expect(openChunk(key, based, sealed, () => undefined)).toBeUndefined();
    expect(sealChunk(key, based, text, () => undefined).encoding).toBe("zstd");
  });

  it("exists also of an empty file, so that it cannot be cut off unseen", () => {
    expect(chunkCount(0)).toBe(1);
    const empty = { ...place, index: 0, count: 1, plainBytes: 0 };
    expect(openChunk(key, empty, sealChunk(key, empty, Buffer.alloc(0)))).toHaveLength(0);
  });
});
