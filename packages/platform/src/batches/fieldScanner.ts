/** Values longer than this are of no use to whoever scans for an index or a name. */
const MAX_VALUE_BYTES = 1024;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COLON = 0x3a;
const COMMA = 0x2c;
const OPEN: readonly number[] = [0x7b, 0x5b];
const CLOSE: readonly number[] = [0x7d, 0x5d];

/**
 * Finds the values of some keys of a JSON object that is too large to be kept, whatever the order of its keys. It holds a few
 * bytes at a time. Only keys of the object itself count, not those of what is inside it, nor text that looks like them.
 */
export class FieldScanner {
  readonly #wanted: readonly string[];
  readonly #found: Record<string, unknown> = {};
  #depth = 0;
  #inText = false;
  #isEscaped = false;
  #atKey = false;
  #key: string | undefined;
  #bytes: number[] | null = null;

  constructor(wanted: readonly string[]) {
    this.#wanted = wanted;
  }

  feed(chunk: Buffer): void {
    for (const byte of chunk) {
      if (this.#inText) this.#text(byte);
      else this.#structure(byte);
    }
  }

  /** What was found up to now. */
  values(): Readonly<Record<string, unknown>> {
    return this.#found;
  }

  #text(byte: number): void {
    this.#capture(byte);
    if (this.#isEscaped) this.#isEscaped = false;
    else if (byte === BACKSLASH) this.#isEscaped = true;
    else if (byte === QUOTE) {
      this.#inText = false;
      if (this.#depth === 1 && this.#atKey) this.#key = String(this.#captured() ?? "");
    }
  }

  #structure(byte: number): void {
    if (byte === QUOTE) {
      this.#inText = true;
      if (this.#depth === 1 && this.#atKey) this.#bytes = [];
      this.#capture(byte);
    } else if (OPEN.includes(byte)) {
      if (++this.#depth === 1) this.#atKey = true;
      else this.#bytes = null;
    } else if (CLOSE.includes(byte)) {
      if (this.#depth-- === 1) this.#endValue();
    } else if (this.#depth === 1 && byte === COLON) {
      this.#atKey = false;
      this.#bytes = this.#key !== undefined && this.#wanted.includes(this.#key) ? [] : null;
    } else if (this.#depth === 1 && byte === COMMA) {
      this.#endValue();
      this.#atKey = true;
    } else this.#capture(byte);
  }

  #endValue(): void {
    const value = this.#captured();
    if (this.#key !== undefined && value !== undefined && this.#wanted.includes(this.#key)) this.#found[this.#key] = value;
    this.#key = undefined;
  }

  #capture(byte: number): void {
    if (this.#bytes === null) return;
    if (this.#bytes.length >= MAX_VALUE_BYTES) this.#bytes = null;
    else this.#bytes.push(byte);
  }

  #captured(): unknown {
    const bytes = this.#bytes;
    this.#bytes = null;
    if (bytes === null) return undefined;
    try {
      return JSON.parse(Buffer.from(bytes).toString("utf8")) as unknown;
    } catch {
      return undefined; // not a plain value: nothing that is looked for
    }
  }
}
