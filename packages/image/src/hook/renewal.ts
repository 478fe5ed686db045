// Random numbers of a clone's own (L17). A process that is cloned goes on with the same state of every generator: OpenSSL's,
// from which Node's `crypto`, its TLS and its worker threads draw; what Node keeps in advance of it; and V8's own.
import { randomBytes, randomInt, randomUUID } from "node:crypto";
import { mendNewContexts } from "./contexts.ts";
import { nodesOwn } from "./nodesOwn.ts";

/** Node keeps 128 UUIDs and 1,024 integers in advance; drawing more than that empties what the clones have in common. */
const KEPT_UUIDS = 128;
const KEPT_INTEGERS = 1_024;
/** Random doubles that are made at once. */
const DOUBLES = 512;

/**
 * Makes everything ready and returns what a clone calls before it draws its first random number. Throws where OpenSSL's
 * generator cannot be reached: then no template can be made.
 */
export function prepareRenewal(): () => void {
  const pollOpenssl = nodesOwn("int RAND_poll()");
  const emptyMathRandom = replaceMathRandom();
  return () => {
    if (pollOpenssl() !== 1) throw new Error("Cannot renew the random numbers: OpenSSL has no fresh entropy");
    for (let count = 0; count < KEPT_UUIDS; count++) randomUUID();
    for (let count = 0; count < KEPT_INTEGERS; count++) randomInt(2);
    emptyMathRandom();
  };
}

/**
 * V8's generator cannot be seeded anew, so `Math.random` is replaced: before any library can keep the old one. Returns what
 * makes it forget the numbers that it has made in advance.
 */
function replaceMathRandom(): () => void {
  let numbers = new Uint32Array();
  let next = 0;
  const random = (): number => {
    if (next >= numbers.length) {
      const bytes = randomBytes(DOUBLES * 8);
      numbers = new Uint32Array(bytes.buffer, bytes.byteOffset, DOUBLES * 2);
      next = 0;
    }
    const high = (numbers[next++] ?? 0) >>> 5;
    const low = (numbers[next++] ?? 0) >>> 6;
    return (high * 2 ** 26 + low) / 2 ** 53;
  };
  mendNewContexts(random);
  Object.defineProperty(Math, "random", { value: random, writable: true, configurable: true, enumerable: false });
  return () => void (next = numbers.length);
}
