// Draws from every generator in the template, as a library might that is loaded before the clones part: what Node and OpenSSL
// keep in advance is then there to be shared.
import { randomBytes, randomInt, randomUUID } from "node:crypto";

const bytes = await Promise.all(
  Array.from({ length: 8 }, () => new Promise((resolve) => randomBytes(16, (_error, buffer) => resolve(buffer.toString("hex"))))),
);
globalThis.early = [randomUUID(), randomInt(2 ** 47), Math.random(), randomBytes(16).toString("hex"), ...bytes];
