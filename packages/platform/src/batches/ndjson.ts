import { TorporError } from "@torpor/contracts";
import { FieldScanner } from "./fieldScanner.ts";

// Lines of JSON from a stream. Lines are cut as bytes and decoded whole, so a character split between two chunks is no matter.

export interface NdjsonLimits {
  /** A longer line is not kept; only its `index` and `task` are looked for. */
  readonly maxLineBytes: number;
  readonly maxTotalBytes: number;
}

export type NdjsonLine =
  | { readonly kind: "line"; readonly number: number; readonly text: string }
  | {
      readonly kind: "oversized";
      readonly number: number;
      readonly sizeBytes: number;
      readonly index: number | undefined;
      readonly task: string | undefined;
    };

const NEWLINE = 0x0a;

/** Yields what is not blank, in order; the last line need not end. More than `maxTotalBytes` is refused. */
export async function* ndjsonLines(stream: AsyncIterable<Buffer>, limits: NdjsonLimits): AsyncGenerator<NdjsonLine> {
  let line = new LineBuffer(limits.maxLineBytes);
  let number = 0;
  let totalBytes = 0;
  for await (const chunk of stream) {
    totalBytes += chunk.length;
    if (totalBytes > limits.maxTotalBytes)
      throw new TorporError(
        "body_too_large",
        `Cannot take the items: more than ${limits.maxTotalBytes} bytes in one request; send smaller batches`,
      );
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      line.add(chunk.subarray(start, end));
      const whole = line.finish(++number);
      if (whole !== null) yield whole;
      line = new LineBuffer(limits.maxLineBytes);
      start = end + 1;
    }
    line.add(chunk.subarray(start));
  }
  const last = line.finish(number + 1);
  if (last !== null) yield last;
}

/** One line as it arrives. What was kept is scanned and let go as soon as it is too much. */
class LineBuffer {
  readonly #maxBytes: number;
  readonly #scanner = new FieldScanner(["index", "task"]);
  #chunks: Buffer[] = [];
  #sizeBytes = 0;
  #isOversized = false;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  add(chunk: Buffer): void {
    if (chunk.length === 0) return;
    this.#sizeBytes += chunk.length;
    if (this.#isOversized) return this.#scanner.feed(chunk);
    this.#chunks.push(chunk);
    if (this.#sizeBytes <= this.#maxBytes) return;
    this.#isOversized = true;
    for (const kept of this.#chunks) this.#scanner.feed(kept);
    this.#chunks = [];
  }

  finish(number: number): NdjsonLine | null {
    if (this.#isOversized) {
      const { index, task } = this.#scanner.values();
      const isIndex = typeof index === "number" && Number.isSafeInteger(index) && index >= 0;
      return {
        kind: "oversized",
        number,
        sizeBytes: this.#sizeBytes,
        index: isIndex ? index : undefined,
        task: typeof task === "string" ? task : undefined,
      };
    }
    const text = Buffer.concat(this.#chunks).toString("utf8").trim();
    return text === "" ? null : { kind: "line", number, text };
  }
}
