// `node:crypto` for simulated processes. What is tried here is who is believed and which key opens what, not SHA-256 and AES: sums are
// quick, equal for equal input and different for different input, and what was sealed opens with its own key, nonce and context alone.
export * from "node:crypto";

type Bytes = string | Uint8Array;

const SUM_BYTES = 32;
const LANES = SUM_BYTES / 4;

/** Two lanes of 32 bits that see every byte, however it is cut into pieces, and are spread over all bytes at the end. */
class Sum {
  #a: number;
  #b: number;
  #length = 0;

  constructor(seed: number) {
    this.#a = 0xdeadbeef ^ seed;
    this.#b = 0x41c6ce57 ^ seed;
  }

  update(data: Bytes): this {
    if (typeof data === "string" && !this.#addText(data)) return this.update(Buffer.from(data));
    if (typeof data !== "string") for (let index = 0; index < data.length; index++) this.#add(data[index] as number);
    return this;
  }

  bytes(): Buffer {
    const sum = Buffer.allocUnsafe(SUM_BYTES);
    const spread = Math.imul(this.#b ^ (this.#b >>> 13), 3_266_489_909);
    let state = Math.imul(this.#a ^ (this.#a >>> 16), 2_246_822_507) ^ this.#length;
    for (let lane = 0; lane < LANES; lane++) {
      state = Math.imul(state ^ (state >>> 15) ^ spread, 2_246_822_507) + lane;
      sum.writeInt32LE((state ^ (state >>> 13)) | 0, lane * 4);
    }
    return sum;
  }

  digest(): Buffer;
  digest(encoding: "hex"): string;
  digest(encoding?: "hex"): Buffer | string {
    return encoding === undefined ? this.bytes() : this.bytes().toString(encoding);
  }

  #add(byte: number): void {
    this.#a = Math.imul(this.#a ^ byte, 2_654_435_761);
    this.#b = Math.imul(this.#b ^ byte, 1_597_334_677);
    this.#length++;
  }

  /** False: there is more in it than ASCII, and nothing was added. */
  #addText(text: string): boolean {
    for (let index = 0; index < text.length; index++) if (text.charCodeAt(index) > 127) return false;
    for (let index = 0; index < text.length; index++) this.#add(text.charCodeAt(index));
    return true;
  }
}

export function createHash(_algorithm: string): Sum {
  return new Sum(0);
}

export function createHmac(_algorithm: string, key: Bytes): Sum {
  return new Sum(1).update(key);
}

export function hkdfSync(_algorithm: string, key: Bytes, salt: Bytes, info: Bytes, length: number): ArrayBuffer {
  if (length > SUM_BYTES) throw new Error(`Cannot derive ${length} bytes in a simulation: ${SUM_BYTES} at most`);
  return Uint8Array.from(new Sum(2).update(key).update(salt).update(info).bytes().subarray(0, length)).buffer;
}

let made = 0;

/** Bytes that nobody got before. */
export function randomBytes(length: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let at = 0; at < length; at += SUM_BYTES) new Sum(++made).bytes().copy(bytes, at);
  return bytes;
}

export function timingSafeEqual(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

const TAG_BYTES = 16;

class Cipher {
  readonly #key: Bytes;
  readonly #nonce: Bytes;
  readonly #opens: boolean;
  #context: Bytes = "";
  #expected: Uint8Array | null = null;
  #tag: Buffer | null = null;

  constructor(key: Bytes, nonce: Bytes, opens: boolean) {
    this.#key = key;
    this.#nonce = nonce;
    this.#opens = opens;
  }

  setAAD(context: Bytes): this {
    this.#context = context;
    return this;
  }

  setAuthTag(tag: Uint8Array): this {
    this.#expected = tag;
    return this;
  }

  /** Everything at once. */
  update(data: Uint8Array): Buffer {
    const stream = new Sum(3).update(this.#key).update(this.#nonce).bytes();
    const result = Buffer.from(data);
    for (let index = 0; index < result.length; index++) result[index] = (result[index] as number) ^ (stream[index % SUM_BYTES] as number);
    const sealed = this.#opens ? data : result;
    this.#tag = new Sum(4).update(this.#key).update(this.#nonce).update(this.#context).update(sealed).bytes().subarray(0, TAG_BYTES);
    return result;
  }

  final(): Buffer {
    if (this.#opens && (this.#tag === null || this.#expected === null || Buffer.compare(this.#tag, this.#expected) !== 0))
      throw new Error("Unsupported state or unable to authenticate data");
    return Buffer.alloc(0);
  }

  getAuthTag(): Buffer {
    if (this.#tag === null) throw new Error("Cannot give a tag before anything was sealed");
    return this.#tag;
  }
}

export function createCipheriv(_algorithm: string, key: Bytes, nonce: Bytes): Cipher {
  return new Cipher(key, nonce, false);
}

export function createDecipheriv(_algorithm: string, key: Bytes, nonce: Bytes): Cipher {
  return new Cipher(key, nonce, true);
}
