// The node's own key: wraps the keys of memory images, and nothing else.
import { createCipheriv, createDecipheriv, createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { MemoryImageId } from "@torpor/contracts";
import { Secret } from "@torpor/kernel";
import { codeOf, writeDurably } from "../fileWrites.ts";
import { ImageKey, KEY_BYTES } from "./imageKey.ts";

const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const CHECK_TEXT = "torpor memory node key";

export class NodeKey {
  readonly #secret: Secret;

  /** `secret` is base64 of 32 bytes, as `parseNodeKey` gives it. */
  constructor(secret: Secret) {
    this.#secret = secret;
  }

  /** The image's key, readable with this key and for this image alone. */
  wrap(id: MemoryImageId, key: ImageKey): Uint8Array {
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv("aes-256-gcm", this.#bytes(), nonce).setAAD(Buffer.from(id));
    const sealed = Buffer.concat([cipher.update(key.reveal()), cipher.final()]);
    return Buffer.concat([nonce, sealed, cipher.getAuthTag()]);
  }

  /** Undefined when not every byte is as it was wrapped, for this image and by this key. */
  unwrap(id: MemoryImageId, wrapped: Uint8Array): ImageKey | undefined {
    if (wrapped.length !== NONCE_BYTES + KEY_BYTES + TAG_BYTES) return undefined;
    const decipher = createDecipheriv("aes-256-gcm", this.#bytes(), wrapped.subarray(0, NONCE_BYTES))
      .setAAD(Buffer.from(id))
      .setAuthTag(wrapped.subarray(-TAG_BYTES));
    const bytes = decipher.update(wrapped.subarray(NONCE_BYTES, -TAG_BYTES));
    try {
      decipher.final();
      return new ImageKey(bytes);
    } catch {
      return undefined; // what was changed is refused by whoever asked for it
    }
  }

  /** Tells this key from others without telling it. */
  checkValue(): string {
    return createHmac("sha256", this.#bytes()).update(CHECK_TEXT).digest("hex");
  }

  isThatOf(checkValue: string): boolean {
    const [mine, other] = [Buffer.from(this.checkValue()), Buffer.from(checkValue)];
    return mine.length === other.length && timingSafeEqual(mine, other);
  }

  #bytes(): Uint8Array {
    return Buffer.from(this.#secret.reveal(), "base64");
  }
}

/** Undefined when it is not 32 bytes, written as 64 hex digits or as base64. */
export function parseNodeKey(text: string): Secret | undefined {
  const trimmed = text.trim();
  const bytes = /^[0-9a-f]{64}$/i.test(trimmed) ? Buffer.from(trimmed, "hex") : Buffer.from(trimmed, "base64");
  return bytes.length === KEY_BYTES ? new Secret(bytes.toString("base64")) : undefined;
}

/** The key in `path`, which is made when there is none. Throws when there is one that cannot be read: images need it. */
export async function readOrMakeNodeKey(path: string): Promise<NodeKey> {
  const text = await readFile(path, "utf8").catch((error: unknown) => {
    if (codeOf(error) !== "ENOENT") throw error;
    return undefined;
  });
  if (text === undefined) {
    const made = randomBytes(KEY_BYTES).toString("base64");
    await writeDurably(path, made);
    return new NodeKey(new Secret(made));
  }
  const secret = parseNodeKey(text);
  if (secret === undefined)
    throw new Error(`Cannot use ${path}: it does not hold 32 bytes; bring the file back, or delete it together with all memory images`);
  return new NodeKey(secret);
}
