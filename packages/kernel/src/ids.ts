import { randomBytes } from "node:crypto";

/** Source of randomness, passed in so that tests and simulations can be repeated. */
export interface Random {
  /** `length` random bytes. */
  bytes(length: number): Uint8Array;
  /** Uniform in [0, 1). */
  unit(): number;
}

/** The system's randomness. */
export const systemRandom: Random = {
  bytes: (length) => randomBytes(length),
  unit: () => Math.random(),
};

const ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz";

/** `length` random characters of [0-9a-z], each equally likely. */
export function randomText(random: Random, length: number): string {
  let text = "";
  while (text.length < length) {
    for (const byte of random.bytes(length - text.length + 4)) {
      // 252 is the largest multiple of 36 below 256: higher bytes would favour the first characters.
      if (byte < 252 && text.length < length) text += ALPHABET.charAt(byte % 36);
    }
  }
  return text;
}

/** Milliseconds since the epoch as 9 characters of base 36: sorts by time until the year 5188. */
function timeText(nowMs: number): string {
  return Math.max(0, Math.floor(nowMs)).toString(36).padStart(9, "0");
}

/**
 * The body of a new id: 25 characters of [0-9a-z], the first 9 sort by creation time, the other 16 are random
 * (82 bits), so two ids differ in their last 8 characters too.
 */
export function newIdBody(nowMs: number, random: Random): string {
  return timeText(nowMs) + randomText(random, 16);
}
