import { TorporError } from "@torpor/contracts";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ndjsonLines, type NdjsonLine } from "./ndjson.ts";

const limits = { maxLineBytes: 200, maxTotalBytes: 10_000 };

async function* chunked(bytes: Buffer, sizes: readonly number[]): AsyncGenerator<Buffer> {
  let at = 0;
  for (let turn = 0; at < bytes.length; turn++) {
    const size = Math.max(1, sizes[turn % sizes.length] ?? 1);
    yield bytes.subarray(at, at + size);
    at += size;
  }
}

async function read(text: string, sizes: readonly number[] = [7]): Promise<NdjsonLine[]> {
  const lines: NdjsonLine[] = [];
  for await (const line of ndjsonLines(chunked(Buffer.from(text), sizes), limits)) lines.push(line);
  return lines;
}

describe("lines of JSON from a stream", () => {
  it("passes over blank lines and reads a last line that does not end", async () => {
    const lines = await read('\n{"a":1}\r\n  \n\n{"a":2}');
    expect(lines).toEqual([
      { kind: "line", number: 2, text: '{"a":1}' },
      { kind: "line", number: 5, text: '{"a":2}' },
    ]);
  });

  it("puts characters together that were split between chunks, however they were cut", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 8 }), async (sizes) => {
        const lines = await read('{"text":"größer 😀 日本"}\n{"b":2}\n', sizes);
        expect(lines.map((line) => (line.kind === "line" ? line.text : line))).toEqual(['{"text":"größer 😀 日本"}', '{"b":2}']);
      }),
    );
  });

  it("tells the index and the task of a line that is too long, wherever in it they stand", async () => {
    const payload = "x".repeat(400);
    for (const line of [
      `{"index":3,"task":"big","payload":"${payload}"}`,
      `{"payload":"${payload}","task":"big","index":3}`,
      `{"payload":{"index":9,"task":"no","text":"${payload}"},"task":"big", "index" : 3 }`,
    ]) {
      const [oversized, next] = await read(`${line}\n{"index":4}\n`);
      expect(oversized).toEqual({ kind: "oversized", number: 1, sizeBytes: Buffer.byteLength(line), index: 3, task: "big" });
      expect(next).toMatchObject({ kind: "line", text: '{"index":4}' });
    }
  });

  it("is not fooled by text that looks like keys, nor by escapes", async () => {
    const [line] = await read(
      `{"payload":"\\",\\"index\\":7,\\"task\\":\\"evil\\"${"x".repeat(300)}","nested":[{"index":8}],"task":"good\\u0021","index":2}`,
    );
    expect(line).toMatchObject({ kind: "oversized", index: 2, task: "good!" });
  });

  it("says so when a line that is too long has no index", async () => {
    expect(await read(`{"index":-1,"payload":"${"x".repeat(300)}"}`)).toMatchObject([
      { kind: "oversized", index: undefined, task: undefined },
    ]);
  });

  it("refuses more than the whole may have", async () => {
    await expect(read(`{"a":"${"x".repeat(50)}"}\n`.repeat(300))).rejects.toBeInstanceOf(TorporError);
  });
});
