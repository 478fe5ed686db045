// A whole gateway over the fake driver: real HTTP, real files, a clock that the test turns.
import { createServer, type Server } from "node:http";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CALLBACK_SIGNATURE_HEADER, gateway as contract, SnapshotCallback, TorporError } from "@torpor/contracts";
import { RouteClient, type CallOutcome } from "@torpor/http";
import { HOOK_OPTIONS } from "@torpor/image";
import { ManualClock } from "@torpor/kernel";
import { silentLog } from "@torpor/observe";
import { readGatewayConfig, type GatewayConfig } from "../config.ts";
import type { SandboxImage } from "../drivers/driver.ts";
import { FakeDriver, FakeHost, type FakeDriverOptions } from "../drivers/fake/fakeDriver.ts";
import { startGateway, type RunningGateway } from "../gateway.ts";
import type { ImageSource } from "../images.ts";

export const TOKEN = "a-token-for-tests-0123456789";
export { contract };

/** Every reference that begins with `torpor/` is an image, and so is its digest; the digest is made from the name. */
export const fakeImages: ImageSource = {
  async find(given): Promise<SandboxImage> {
    const named = /^sha256-([0-9a-f]{64})$/.exec(given)?.[1];
    const reference = named === undefined ? given : Buffer.from(named, "hex").toString().replaceAll("\0", "");
    if (!reference.startsWith("torpor/"))
      throw new TorporError("request_unprocessable", `Cannot use image ${reference}: no such image`, { param: "image" });
    return {
      digest: Buffer.from(reference).toString("hex").padEnd(64, "0"),
      rootfs: "/",
      args: ["node", ...HOOK_OPTIONS, "runner"],
      workingDir: "/",
      user: { uid: 1000, gid: 1000 },
      env: {},
    };
  },
};

/** Takes callbacks; answers what the test wants. */
export class CallbackReceiver {
  readonly bodies: SnapshotCallback[] = [];
  readonly raw: { readonly body: string; readonly signature: string }[] = [];
  /** Status of the next answers; 200 when empty. */
  readonly answers: number[] = [];
  readonly #server: Server;
  readonly #waiting: (() => void)[] = [];

  constructor() {
    this.#server = createServer((request, response) => {
      let body = "";
      request.on("data", (chunk: Buffer) => void (body += chunk.toString()));
      request.on("end", () => {
        this.raw.push({ body, signature: String(request.headers[CALLBACK_SIGNATURE_HEADER]) });
        this.bodies.push(SnapshotCallback.parse(JSON.parse(body)));
        response.writeHead(this.answers.shift() ?? 200, { connection: "close" }).end("{}");
        for (const wake of this.#waiting.splice(0)) wake();
      });
    });
  }

  async listen(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", () => resolve()));
    return this;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/done`;
  }

  /** The callback number `count` (from 1), once it has come. */
  async nth(count: number): Promise<SnapshotCallback> {
    for (;;) {
      const body = this.bodies[count - 1];
      if (body !== undefined) return body;
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  /** The first callback whose request carried this metadata, once it has come. */
  async about(nonce: string): Promise<SnapshotCallback> {
    for (;;) {
      const body = this.bodies.find(({ metadata }) => metadata?.["nonce"] === nonce);
      if (body !== undefined) return body;
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}

export interface FakeGatewayOptions {
  readonly config?: Partial<GatewayConfig>;
  readonly driver?: Partial<FakeDriverOptions>;
}

/** One gateway process, as far as a test can tell. */
export class FakeGateway {
  readonly clock: ManualClock;
  readonly driver: FakeDriver;
  readonly running: RunningGateway;
  readonly client: RouteClient;

  constructor(parts: { clock: ManualClock; driver: FakeDriver; running: RunningGateway }) {
    this.clock = parts.clock;
    this.driver = parts.driver;
    this.running = parts.running;
    this.client = new RouteClient({ baseUrl: parts.running.url, timeoutMs: 10_000, headers: () => ({ authorization: `Bearer ${TOKEN}` }) });
  }
}

/** A machine on which gateways are started, killed and started again. */
export class FakeNode {
  readonly host = new FakeHost();
  readonly dir: string;
  readonly receiver: CallbackReceiver;
  readonly #started: FakeGateway[] = [];

  constructor(dir: string, receiver: CallbackReceiver) {
    this.dir = dir;
    this.receiver = receiver;
  }

  static async make(): Promise<FakeNode> {
    return new FakeNode(await mkdtemp(join(tmpdir(), "torpor-gwtest-")), await new CallbackReceiver().listen());
  }

  /** Starts a gateway here. The one before may be left as it is: to this one it looks killed, since its clock stands still. */
  async start(options: FakeGatewayOptions = {}): Promise<FakeGateway> {
    const clock = new ManualClock(Date.now());
    const driver = new FakeDriver({ clock, host: this.host, ...options.driver });
    const config = {
      ...readGatewayConfig({
        COMPUTE_GATEWAY_AUTH_TOKEN: TOKEN,
        TORPOR_STATE_DIR: this.dir,
        TORPOR_GATEWAY_PORT: "0",
        TORPOR_GATEWAY_TEMPLATES: "off",
        TORPOR_GATEWAY_SPARES: "0",
      }),
      ...options.config,
    };
    const running = await startGateway(config, { clock, driver, log: silentLog, images: fakeImages });
    const gateway = new FakeGateway({ clock, driver, running });
    this.#started.push(gateway);
    return gateway;
  }

  /** As if killed: it hears of nothing any more, and its clock stands still. */
  async kill(gateway: FakeGateway): Promise<void> {
    await gateway.driver.close();
  }

  /** Names of memory images' folders on disk. */
  async memoryFolders(): Promise<string[]> {
    return (await readdir(join(this.dir, "gateway", "memory")).catch(() => [])).toSorted();
  }

  async close(): Promise<void> {
    await this.receiver.close();
    for (const gateway of this.#started) {
      await gateway.client.close();
      const closing = gateway.running.close();
      await gateway.clock.advance(120_000); // lets go what hangs
      await closing.catch(() => undefined); // those that a test left "killed" find their files gone
    }
    await rm(this.dir, { recursive: true, force: true });
  }
}

/** The answer of a call that must succeed. */
export function ok<T>(outcome: CallOutcome<T>): T {
  if (outcome.kind === "ok") return outcome.body;
  throw new Error(`Expected a success: ${JSON.stringify(outcome)}`);
}
