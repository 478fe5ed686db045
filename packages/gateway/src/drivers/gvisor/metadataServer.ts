// The metadata address of sandboxes: who connects gets what was set for the address that it connects from, and nothing else (L14).
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Closable } from "@torpor/kernel";

/** Serves `GET /env` on loopback. Rules of the plane's table bring sandboxes here, with their own address as source. */
export class MetadataServer implements Closable {
  readonly #documents = new Map<string, string>();
  readonly #server: Server;

  constructor() {
    this.#server = createServer({ requestTimeout: 5_000, headersTimeout: 5_000, connectionsCheckingInterval: 1_000 }, (request, response) =>
      this.#answer(request, response),
    );
    this.#server.maxConnections = 1_024;
  }

  /** Listens on a free port and returns it. */
  async listen(): Promise<number> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen(0, "127.0.0.1", () => resolve());
    });
    const address = this.#server.address();
    if (address === null || typeof address === "string") throw new Error("Cannot tell where the metadata server listens");
    return address.port;
  }

  /** From now on the sandbox with this address is answered with `document`. */
  set(address: string, document: Readonly<Record<string, string>>): void {
    this.#documents.set(address, JSON.stringify(document));
  }

  delete(address: string): void {
    this.#documents.delete(address);
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const isEnv = request.method === "GET" && request.url?.split("?")[0] === "/env";
    const document = isEnv ? this.#documents.get(request.socket.remoteAddress ?? "") : undefined;
    // No connection may stay open: one that is frozen with its sandbox is dead weight on both sides
    response.writeHead(document === undefined ? 404 : 200, { "content-type": "application/json", connection: "close" });
    response.end(document ?? `{"error":"Cannot find metadata for this address"}`);
  }
}
