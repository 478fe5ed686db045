// At most one gateway works with a state folder. The lock is a listening socket: it goes when its process goes, however that ends.
import { createHash } from "node:crypto";
import { rm } from "node:fs/promises";
import { connect, createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { Closable } from "@torpor/kernel";
import { codeOf } from "./fileWrites.ts";

/** Takes the lock of a folder. Throws when another process has it. */
export async function lockFolder(dir: string): Promise<Closable> {
  const path = lockPath(dir);
  const server = createServer((socket) => socket.destroy());
  if (!(await listens(server, path))) {
    // On systems without abstract sockets a dead owner leaves its file behind
    if (path.startsWith("\0") || (await somebodyAnswers(path))) throw new Error(`Cannot work in ${dir}: another gateway is running there`);
    await rm(path, { force: true });
    if (!(await listens(server, path))) throw new Error(`Cannot work in ${dir}: another gateway has just started there`);
  }
  server.unref();
  return { close: () => new Promise<void>((done) => server.close(() => done())) };
}

function lockPath(dir: string): string {
  const name = `torpor-gateway-${createHash("sha256").update(resolve(dir)).digest("hex").slice(0, 16)}`;
  return process.platform === "linux" ? `\0${name}` : join(tmpdir(), `${name}.sock`);
}

function listens(server: Server, path: string): Promise<boolean> {
  return new Promise((done, fail) => {
    const onError = (error: Error): void => (codeOf(error) === "EADDRINUSE" ? done(false) : fail(error));
    server.once("error", onError);
    server.listen(path, () => {
      server.off("error", onError);
      done(true);
    });
  });
}

function somebodyAnswers(path: string): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect(path, () => {
      socket.destroy();
      done(true);
    });
    socket.once("error", () => done(false));
  });
}
