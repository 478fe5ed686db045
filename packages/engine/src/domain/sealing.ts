import { createCipheriv, createDecipheriv, createHash } from "node:crypto";
import type { Random } from "@torpor/kernel";
import type { Secret } from "@torpor/kernel";

// What is secret at rest: AES-256-GCM, a fresh 12-byte nonce before each text, the 16-byte tag after it.

const NONCE_BYTES = 12;
const TAG_BYTES = 16;

export function seal(key: Buffer, text: string, random: Random): Buffer {
  const nonce = random.bytes(NONCE_BYTES);
  const cipher = createCipheriv("aes-256-gcm", key, nonce);
  return Buffer.concat([nonce, cipher.update(text, "utf8"), cipher.final(), cipher.getAuthTag()]);
}

/** Throws when the key is another one or a byte was changed. */
export function unseal(key: Buffer, sealed: Buffer): string {
  const decipher = createDecipheriv("aes-256-gcm", key, sealed.subarray(0, NONCE_BYTES));
  decipher.setAuthTag(sealed.subarray(sealed.length - TAG_BYTES));
  return decipher.update(sealed.subarray(NONCE_BYTES, sealed.length - TAG_BYTES), undefined, "utf8") + decipher.final("utf8");
}

/** 32 bytes, written as 64 hex digits or as base64. */
export function encryptionKeyBytes(secret: Secret): Buffer {
  const text = secret.reveal();
  const key = /^[0-9a-fA-F]{64}$/.test(text) ? Buffer.from(text, "hex") : Buffer.from(text, "base64");
  if (key.length !== 32)
    throw new Error(`Cannot use TORPOR_ENCRYPTION_KEY: it must be 32 bytes as 64 hex digits or base64, and has ${key.length} bytes`);
  return key;
}

/** Keys and tokens are looked up by this; the text itself cannot be found from it. */
export function lookupHash(token: string): Buffer {
  return createHash("sha256").update(token).digest();
}
