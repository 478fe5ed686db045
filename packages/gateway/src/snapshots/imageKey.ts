import { hkdfSync, randomBytes } from "node:crypto";
import { inspect } from "node:util";
import type { MemoryImageId } from "@torpor/contracts";

export const KEY_BYTES = 32;
const HIDDEN = "[secret]";

/** The key of one memory image (L16). It cannot be printed by accident, and `forget` overwrites it in this process's memory. */
export class ImageKey {
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  static make(): ImageKey {
    return new ImageKey(randomBytes(KEY_BYTES));
  }

  /** The key of one file of the image: each key seals a file once, so that its nonces can be the numbers of the chunks. */
  forFile(imageId: MemoryImageId, name: string): Uint8Array {
    return this.#derive(`torpor memory file\n${imageId}\n${name}`);
  }

  /** The key that the image's manifest is signed with. */
  forManifest(imageId: MemoryImageId): Uint8Array {
    return this.#derive(`torpor memory manifest\n${imageId}`);
  }

  /** The bytes themselves, to be wrapped. */
  reveal(): Uint8Array {
    return this.#bytes;
  }

  forget(): void {
    this.#bytes.fill(0);
  }

  toString(): string {
    return HIDDEN;
  }

  toJSON(): string {
    return HIDDEN;
  }

  [inspect.custom](): string {
    return HIDDEN;
  }

  #derive(info: string): Uint8Array {
    return new Uint8Array(hkdfSync("sha256", this.#bytes, new Uint8Array(), info, KEY_BYTES));
  }
}
