import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { gateway, type InstanceView, type MemoryImageView } from "@torpor/contracts";
import { environmentKey, gatewayClient, leftoversOf, planeIdOf, registerImage, removePlane, startPlane, type Plane } from "@torpor/cli";
import type { RouteClient } from "@torpor/http";
import type { StoredImage } from "@torpor/image";
import { inject } from "vitest";
import { answered } from "./answered.ts";
import { startUp, type UpProcess } from "./cli.ts";
import { Deployed } from "./deployed.ts";
import { bytesBelow } from "./host.ts";
import { REPO_DIR, STATE_DIR } from "./paths.ts";
import { until } from "./until.ts";

export interface TestPlaneOptions {
  /** Settings of the parts. */
  readonly env?: Readonly<Record<string, string>>;
  readonly driver?: "gvisor" | "process";
  /** Each part of the node as a process of its own. Default: true. */
  readonly splitNode?: boolean;
  /** The plane is what `torpor up` starts, as a process of its own; its parts cannot be named then. */
  readonly asProcess?: boolean;
}

/**
 * Sandboxes sleep as soon as they may, leave after their run, and boot: tests that want runners to be kept, clones or spares, say so. The
 * scratch disk may be nearly full.
 */
const DEFAULT_ENV = {
  COMPUTE_SNAPSHOT_DELAY_MS: "600",
  TRIGGER_WARM_START_KEEPALIVE_MS: "0",
  TORPOR_GATEWAY_TEMPLATES: "off",
  TORPOR_GATEWAY_SPARES: "0",
  TORPOR_GATEWAY_MIN_FREE_DISK_BYTES: "104857600",
};
const LOG_TAIL_BYTES = 2_000;

/** A whole plane in a scratch folder, and everything that tests ask of it. */
export class TestPlane {
  readonly dataDir: string;
  readonly planeId: string;
  /** Parts that ended without being asked to, with how. */
  readonly unexpectedExits: string[] = [];
  readonly #options: TestPlaneOptions;
  readonly #deployed: Deployed[] = [];
  #plane: Plane | undefined;
  #process: UpProcess | undefined;
  #gateway: RouteClient | undefined;

  constructor(options: TestPlaneOptions = {}) {
    this.#options = options;
    mkdirSync(STATE_DIR, { recursive: true });
    this.dataDir = mkdtempSync(join(STATE_DIR, "e2e-"));
    this.planeId = planeIdOf(this.dataDir);
  }

  /** Makes a plane and starts it. */
  static async start(options: TestPlaneOptions = {}): Promise<TestPlane> {
    const made = new TestPlane(options);
    try {
      await made.up();
      return made;
    } catch (error) {
      const words = made.lastWords();
      await made.remove();
      throw new Error(`Cannot start a plane: ${words}`, { cause: error });
    }
  }

  get plane(): Plane {
    if (this.#plane === undefined) throw new Error("this plane is not up");
    return this.#plane;
  }

  /** The process of `torpor up`. */
  get process(): UpProcess {
    if (this.#process === undefined) throw new Error("this plane is not a process of its own");
    return this.#process;
  }

  get apiUrl(): string {
    return this.plane.file.apiUrl;
  }

  /** Client of the node's gateway. */
  get gateway(): RouteClient {
    return (this.#gateway ??= gatewayClient(this.plane.file));
  }

  /** Starts the parts, on whatever the data folder holds. */
  async up(): Promise<void> {
    const { asProcess = false } = this.#options;
    this.#plane = asProcess ? await this.#startProcess() : await this.#startHere();
    for (const deployed of this.#deployed) await deployed.connect(this.apiUrl);
  }

  async #startHere(): Promise<Plane> {
    const { driver = "gvisor", splitNode = true, env } = this.#options;
    return await startPlane({
      dataDir: this.dataDir,
      repoDir: REPO_DIR,
      stateDir: STATE_DIR,
      driver,
      splitNode,
      env: { ...DEFAULT_ENV, ...inject("prepared").env, ...env },
      onProgress: () => {},
      onUnexpectedExit: (part, how) => void this.unexpectedExits.push(`${part}: ${how}`),
    });
  }

  async #startProcess(): Promise<Plane> {
    const { driver = "gvisor", env } = this.#options;
    const running = await startUp(["--data-dir", this.dataDir, "--driver", driver], { ...DEFAULT_ENV, ...env });
    this.#process = running;
    const close = async (): Promise<void> => {
      running.child.kill("SIGTERM");
      await running.exited;
    };
    const part = (): never => {
      throw new Error("the parts of this plane are children of another process");
    };
    return { file: readPlaneFile(this.dataDir), dataDir: this.dataDir, part, close };
  }

  /** Stops the parts as Ctrl-C does; what sleeps stays on disk. */
  async down(): Promise<void> {
    const plane = this.#plane;
    this.#plane = undefined;
    await Promise.all([this.#gateway?.close(), ...this.#deployed.map((deployed) => deployed.close())]);
    this.#gateway = undefined;
    await plane?.close();
  }

  /** Stops the plane and removes everything. Returns what was left on the machine all the same. */
  async remove(): Promise<string[]> {
    await this.down();
    await removePlane({ planeId: this.planeId, dataDir: this.dataDir, env: inject("prepared").env });
    rmSync(this.dataDir, { recursive: true, force: true, maxRetries: 5 });
    return await leftoversOf(this.planeId);
  }

  /** Makes an image the current version of its project's production environment. */
  async deploy(stored: StoredImage): Promise<Deployed> {
    const deployed = await this.attach(stored.image.projectRef);
    await registerImage({ apiUrl: this.apiUrl, apiKey: deployed.apiKey, stored });
    return deployed;
  }

  /** A project that somebody else deploys. */
  async attach(projectRef: string): Promise<Deployed> {
    const apiKey = await environmentKey(this.plane.file, projectRef, "prod");
    const deployed = new Deployed(apiKey, this);
    await deployed.connect(this.apiUrl);
    this.#deployed.push(deployed);
    return deployed;
  }

  /** Sandboxes as the gateway sees them, without those that have ended. */
  async instances(): Promise<InstanceView[]> {
    const { instances } = await answered(() => this.gateway.call(gateway.listInstances));
    return instances.filter(({ state }) => state !== "gone");
  }

  async memoryImages(): Promise<MemoryImageView[]> {
    return (await answered(() => this.gateway.call(gateway.listSnapshots))).snapshots;
  }

  /** Folder in which the gateway keeps memory images. */
  get memoryDir(): string {
    return join(this.dataDir, "gateway/memory");
  }

  /** Bytes of memory images on the disk, whatever the gateway says. */
  memoryBytesOnDisk(): number {
    return bytesBelow(this.memoryDir);
  }

  /** Resolves when no sandbox and no memory image is left, neither at the gateway nor on the machine. */
  async untilNothingIsLeft(): Promise<void> {
    const left = async (): Promise<readonly string[]> => [
      ...(await this.instances()).map(({ name, state }) => `sandbox ${name} (${state})`),
      ...(await this.memoryImages()).map(({ id, state }) => `memory image ${id} (${state})`),
      ...(await leftoversOf(this.planeId)).filter((line) => line.startsWith("process ")),
      ...(this.memoryBytesOnDisk() > 0 ? [`${this.memoryBytesOnDisk()} bytes of memory images`] : []),
    ];
    await until("no sandbox, process or memory image is left", async () => ((await left()).length === 0 ? true : undefined), {
      everyMs: 200,
      seen: left,
    });
  }

  /** The end of each part's log. */
  lastWords(): string {
    const dir = join(this.dataDir, "logs");
    return readdirSync(dir)
      .map((name) => `--- ${name}\n${readFileSync(join(dir, name), "utf8").slice(-LOG_TAIL_BYTES)}`)
      .join("\n");
  }
}

function readPlaneFile(dataDir: string): Plane["file"] {
  return JSON.parse(readFileSync(join(dataDir, "plane.json"), "utf8")) as Plane["file"];
}
