import { createHash } from "node:crypto";

/** `sizeBytes` of bytes that depend on `seed` alone, so that they cannot be rebuilt by luck. */
export function fillMemory(seed: number, sizeBytes: number): Uint32Array {
  const words = new Uint32Array(sizeBytes / 4);
  let state = seed | 1; // xorshift never leaves zero
  for (let index = 0; index < words.length; index++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[index] = state;
  }
  return words;
}

export function sha256(words: Uint32Array): string {
  return createHash("sha256").update(words).digest("hex");
}
