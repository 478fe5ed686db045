import { createServer, type Server } from "node:net";
import type { Closable } from "@torpor/kernel";

/** Whether nobody listens on this loopback port. */
export function isPortFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once("error", () => resolve(false));
    probe.listen({ host: "127.0.0.1", port, exclusive: true }, () => probe.close(() => resolve(true)));
  });
}

/** Free loopback ports, all different: the system picks them while all are held open together. */
export async function freePorts(count: number): Promise<number[]> {
  const held = await Promise.all(Array.from({ length: count }, holdPort));
  await Promise.all(held.map(({ release }) => release()));
  return held.map(({ port }) => port);
}

function holdPort(): Promise<{ port: number; release(): Promise<void> }> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen({ host: "127.0.0.1", port: 0 }, () => {
      const address = server.address();
      if (address === null || typeof address === "string") return reject(new Error("Cannot hold a loopback port"));
      resolve({ port: address.port, release: () => new Promise((done) => void server.close(() => done())) });
    });
  });
}

/**
 * Claims a loopback port for somebody who will listen on it in a moment: of two planes that start at the same time one gets it.
 * Undefined when it is claimed, or somebody listens on it. Where claims cannot be made, looking must do.
 */
export async function claimPort(port: number): Promise<Closable | undefined> {
  const claim = createServer((visitor) => visitor.destroy());
  if (process.platform === "linux" && !(await listensAt(claim, `\0torpor-port-${port}`))) return undefined;
  claim.unref();
  const release = (): Promise<void> => new Promise((done) => void claim.close(() => done()));
  if (await isPortFree(port)) return { close: release };
  await release();
  return undefined;
}

function listensAt(server: Server, path: string): Promise<boolean> {
  return new Promise((resolve) => {
    server.once("error", () => resolve(false));
    server.listen(path, () => resolve(true));
  });
}
