// Prints what it draws from every generator of random numbers, as one line of JSON.
import { getRandomValues, randomBytes, randomInt, randomUUID, webcrypto, generateKeyPairSync } from "node:crypto";
import { closeSync, openSync, readFileSync, readSync } from "node:fs";
import { createServer } from "node:net";
import { connect } from "node:tls";
import vm from "node:vm";
import { Worker } from "node:worker_threads";

const hex = (buffer) => Buffer.from(buffer).toString("hex");

/** The random number with which a TLS client introduces itself: bytes 11 to 43 of the first it sends. */
function clientHello() {
  return new Promise((resolve) => {
    const server = createServer((socket) => {
      socket.on("error", () => undefined);
      socket.once("data", (data) => {
        resolve(hex(data.subarray(11, 43)));
        socket.destroy();
        server.close();
      });
    });
    server.listen(0, "127.0.0.1", () => connect({ host: "127.0.0.1", port: server.address().port }).on("error", () => undefined));
  });
}

function fromThread() {
  const program =
    'const { randomUUID } = require("node:crypto"); require("node:worker_threads").parentPort.postMessage([randomUUID(), Math.random()]);';
  return new Promise((resolve) => new Worker(program, { eval: true }).once("message", resolve));
}

function ofKernel() {
  const file = openSync("/dev/urandom", "r");
  const bytes = Buffer.alloc(16);
  readSync(file, bytes);
  closeSync(file);
  return bytes;
}

const drawn = {
  uuid: [randomUUID(), randomUUID(), randomUUID({ disableEntropyCache: true }), webcrypto.randomUUID()],
  bytes: [hex(randomBytes(16)), hex(getRandomValues(new Uint8Array(16))), hex(webcrypto.getRandomValues(new Uint8Array(16)))],
  bytesOfThreads: await Promise.all(
    Array.from({ length: 8 }, () => new Promise((resolve) => randomBytes(16, (_error, buffer) => resolve(hex(buffer))))),
  ),
  int: [randomInt(2 ** 47)],
  context: [
    vm.runInNewContext("Math.random()"),
    vm.runInContext("Math.random()", vm.createContext({})),
    new vm.Script("Math.random()").runInNewContext(),
  ],
  math: [Math.random(), Math.random()],
  thread: await fromThread(),
  key: [generateKeyPairSync("x25519").publicKey.export({ format: "jwk" }).x],
  tls: [await clientHello()],
  kernel: [hex(ofKernel())],
};
process.stdout.write(
  `drawn ${JSON.stringify({ drawn, early: globalThis.early, host: readFileSync("/proc/sys/kernel/hostname", "utf8").trim() })}\n`,
);
setInterval(() => undefined, 1_000);
