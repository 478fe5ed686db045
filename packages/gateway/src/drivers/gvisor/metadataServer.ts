// The metadata address of sandboxes: who connects gets what was set for the address that it connects from, and nothing else (L14).
// A sandbox that was made ready ahead waits here for its environment, which so is never on disk.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Closable } from "@torpor/kernel";

/** Twice as many as there are addresses for sandboxes: each has one request under way at most, unless it means harm. */
const MAX_CONNECTIONS = 2_048;
/** No connection may stay open: one that is frozen with its sandbox is dead weight on both sides. */
const HEADERS = { "content-type": "application/json", connection: "close" };

/** A spare that asks for its environment, or will in a moment. */
interface Expected extends PromiseWithResolvers<void> {
  response: ServerResponse | undefined;
}

/** Serves `GET /env` and, to each spare once, `GET /start` on loopback. Rules of the plane's table bring sandboxes here, with their own address as source. */
export class MetadataServer implements Closable {
  readonly #documents = new Map<string, string>();
  readonly #expected = new Map<string, Expected>();
  readonly #server: Server;

  constructor() {
    this.#server = createServer({ requestTimeout: 5_000, headersTimeout: 5_000, connectionsCheckingInterval: 1_000 }, (request, response) =>
      this.#answer(request, response),
    );
    this.#server.maxConnections = MAX_CONNECTIONS;
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
    this.unexpect(address);
  }

  /** The sandbox with this address may ask for its environment, and waits until `start` is called. */
  expect(address: string): void {
    this.#expected.set(address, { ...Promise.withResolvers<void>(), response: undefined });
  }

  /** Nobody gets an environment at this address any more. */
  unexpect(address: string): void {
    this.#expected.get(address)?.response?.destroy();
    this.#expected.delete(address);
  }

  /** Resolves when the sandbox with this address asks for its environment; never, when none is expected to. */
  asked(address: string): Promise<void> {
    return this.#expected.get(address)?.promise ?? new Promise<never>(() => undefined);
  }

  /** Hands a sandbox that asks its environment, once. False when it does not, or has hung up. */
  start(address: string, env: Readonly<Record<string, string>>): boolean {
    const response = this.#expected.get(address)?.response;
    this.#expected.delete(address);
    if (response === undefined || response.destroyed) return false;
    response.writeHead(200, HEADERS).end(JSON.stringify(env));
    return true;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const expected = request.url === "/start" ? this.#expected.get(request.socket.remoteAddress ?? "") : undefined;
    if (expected !== undefined) {
      expected.response = response; // the latest: an earlier one has been given up by who asked
      return expected.resolve();
    }
    const isEnv = request.method === "GET" && request.url?.split("?")[0] === "/env";
    const document = isEnv ? this.#documents.get(request.socket.remoteAddress ?? "") : undefined;
    response.writeHead(document === undefined ? 404 : 200, HEADERS);
    response.end(document ?? `{"error":"Cannot find metadata for this address"}`);
  }
}
