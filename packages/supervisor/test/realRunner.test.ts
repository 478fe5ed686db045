// The unmodified npm runner, as a process, against the supervisor. Instead of a memory image the process is stopped; what it
// sees of it is what a restored one sees: its connections are dead and it has another name.
import { spawn, type ChildProcess } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import { connect, createServer as createTcpServer, type AddressInfo, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildImage, installApp, type InstalledApp } from "@torpor/image";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { FakeHost } from "./fakeGateway.ts";
import { startWire, until, type Wire } from "./wire.ts";

const REPO = join(import.meta.dirname, "../../..");

let dir: string;
let app: InstalledApp;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "torpor-runner-"));
  const outcome = await buildImage({ projectDir: join(REPO, "examples/nap"), stateDir: join(REPO, ".torpor"), progress: () => {} });
  if (outcome.kind === "rejected") throw new Error(`the example cannot be built: ${JSON.stringify(outcome.error)}`);
  app = await installApp(outcome.stored, join(dir, "app"));
}, 180_000);

afterAll(async () => {
  await rm(dir, { recursive: true, force: true });
});

/** Processes of this machine in place of sandboxes. */
class ProcessHost implements FakeHost {
  readonly children = new Map<string, ChildProcess>();
  readonly env = new Map<number, Record<string, string>>();
  readonly output: string[] = [];
  readonly #metadata = new Map<string, Server>();
  #frozen = new Map<string, ChildProcess>();
  onExit: (name: string, code: number | null) => void = () => {};

  async create(name: string, env: Readonly<Record<string, string>>): Promise<void> {
    const metadata = createServer(
      (_request, response) => void response.setHeader("connection", "close").end(JSON.stringify(this.#envOf(child))),
    );
    await new Promise<void>((resolve) => void metadata.listen(0, "127.0.0.1", resolve));
    const child = spawn(process.execPath, [app.controller], {
      cwd: app.dir,
      detached: true,
      stdio: ["ignore", "pipe", "pipe"],
      env: {
        PATH: process.env["PATH"] ?? "",
        TRIGGER_CONTENT_HASH: "x",
        TRIGGER_PROJECT_ID: "p",
        TRIGGER_PROJECT_REF: "proj",
        ...env,
        TRIGGER_METADATA_URL: `http://127.0.0.1:${(metadata.address() as AddressInfo).port}`,
      },
    });
    this.#metadata.set(name, metadata);
    for (const stream of [child.stdout, child.stderr]) stream?.on("data", (chunk: Buffer) => void this.output.push(chunk.toString("utf8")));
    this.children.set(name, child);
    child.once("exit", (code) => {
      const known = [...this.children].find(([, one]) => one === child)?.[0];
      if (known === undefined) return;
      this.children.delete(known);
      this.onExit(known, code);
    });
  }

  freeze(name: string): void {
    this.#signal(this.children.get(name), "SIGSTOP");
  }

  thaw(name: string): void {
    this.#signal(this.children.get(name), "SIGCONT");
  }

  destroy(name: string): void {
    const child = this.children.get(name);
    this.children.delete(name);
    this.#signal(child, "SIGKILL");
  }

  /** All of it dies, as a sandbox does, and its end is seen. */
  crash(name: string): void {
    this.#signal(this.children.get(name), "SIGKILL");
  }

  store(name: string): void {
    const child = this.children.get(name);
    this.children.delete(name);
    if (child !== undefined) this.#frozen.set(name, child);
  }

  restore(oldName: string, newName: string, metadata: Readonly<Record<string, string>>): void {
    const child = this.#frozen.get(oldName);
    if (child?.pid === undefined) throw new Error(`no image of ${oldName}`);
    this.#frozen.delete(oldName);
    this.children.set(newName, child);
    this.env.set(child.pid, { ...metadata });
    this.#signal(child, "SIGCONT");
  }

  close(): void {
    for (const child of [...this.children.values(), ...this.#frozen.values()]) this.#signal(child, "SIGKILL");
    this.children.clear();
    this.#frozen = new Map();
    for (const server of this.#metadata.values()) server.close();
  }

  #envOf(child: ChildProcess): Record<string, string> {
    return this.env.get(child.pid ?? -1) ?? {};
  }

  #signal(child: ChildProcess | undefined, signal: NodeJS.Signals): void {
    if (child?.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
    process.kill(-child.pid, signal);
  }
}

/** What lies between runners and the supervisor. */
class Network {
  readonly #sockets = new Set<Socket>();
  /** Web sockets that were opened so far. */
  webSockets = 0;
  readonly #server = createTcpServer((near) => {
    const far = connect(this.target, "127.0.0.1");
    for (const socket of [near, far]) {
      this.#sockets.add(socket);
      socket
        .on("error", () => {})
        .once("close", () => {
          this.#sockets.delete(socket);
          near.destroy();
          far.destroy();
        });
    }
    near.once("data", (head: Buffer) => void (this.webSockets += head.toString("latin1").startsWith("GET /socket.io") ? 1 : 0));
    near.pipe(far).pipe(near);
  });
  target = 0;

  async listen(): Promise<number> {
    await new Promise<void>((resolve) => void this.#server.listen(0, "127.0.0.1", resolve));
    return (this.#server.address() as AddressInfo).port;
  }

  /** Every connection breaks; new ones can be made. */
  cut(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  close(): void {
    this.cut();
    this.#server.close();
  }
}

let network: Network;
let wire: Wire;
let host: ProcessHost;

afterEach(async () => {
  await wire.close();
  host.close();
  network.close();
});

async function started(payload: object, env: Record<string, string> = {}): Promise<void> {
  host = new ProcessHost();
  network = new Network();
  const port = await network.listen();
  wire = await startWire({
    host,
    env: { TRIGGER_WORKLOAD_API_PORT_EXTERNAL: String(port), ...env },
    task: { id: "cancelled", filePath: "src/trigger/cancelled.ts", payload: JSON.stringify(payload) },
  });
  network.target = Number(new URL(wire.supervisor.workloadUrl).port);
  host.onExit = (name, code) => {
    if (wire.gateway.instances.has(name)) wire.gateway.exit(name, code);
  };
}

function triggered(): string {
  return wire.platform.trigger(`run_${Date.now().toString(36)}real`);
}

const isFinished = (runId: string) => (): boolean => wire.platform.status(runId) === "FINISHED";

describe("the npm runner 4.8.3, unmodified", () => {
  it("starts, runs its task, completes and leaves; nothing of it remains", async () => {
    await started({ seconds: 0.1 });
    const runId = triggered();
    await until("the run is finished", isFinished(runId), 60_000);
    expect(wire.platform.run(runId).completions).toMatchObject([{ ok: true, output: expect.stringContaining("the end") as string }]);
    await until("the runner has left", () => wire.gateway.names().length === 0);
    expect(wire.subscribed()).toEqual([]);
    await until("its instance is deleted", () => wire.gateway.log.some((line) => line.startsWith("delete")));
  }, 180_000);

  it("falls asleep while it waits, and wakes to the very line at once, although its next poll is far away", async () => {
    await started({ seconds: 3600 }, { COMPUTE_SNAPSHOT_DELAY_MS: "600", RUNNER_SNAPSHOT_POLL_INTERVAL_SECONDS: "60" });
    const runId = triggered();
    await until("the run sleeps", () => wire.platform.status(runId) === "SUSPENDED" && wire.gateway.names().length === 0, 60_000);
    wire.platform.wake(runId);
    await until("the run is finished, long before its next poll", isFinished(runId), 20_000);
    expect(wire.platform.statuses(runId)).toEqual([
      "QUEUED",
      "PENDING_EXECUTING",
      "EXECUTING",
      "EXECUTING_WITH_WAITPOINTS",
      "SUSPENDED",
      "QUEUED",
      "PENDING_EXECUTING",
      "EXECUTING",
      "FINISHED",
    ]);
    expect(wire.platform.run(runId).completions).toMatchObject([{ ok: true }]);
  }, 180_000);

  it("hears of the wait's end over a socket that was lost and came back, long before its next poll", async () => {
    await started({ seconds: 3600 }, { COMPUTE_SNAPSHOT_DELAY_MS: "60000", RUNNER_SNAPSHOT_POLL_INTERVAL_SECONDS: "60" });
    const runId = triggered();
    await until("the run waits", () => wire.platform.status(runId) === "EXECUTING_WITH_WAITPOINTS" && network.webSockets === 1, 60_000);
    network.cut();
    await until("its socket came back", () => network.webSockets === 2, 60_000);
    wire.platform.wake(runId);
    await until("the run is finished, long before its next poll", isFinished(runId), 30_000);
  }, 180_000);

  it("killed while it executes: its attempt fails at once and is retried in a new sandbox", async () => {
    await started({ seconds: 3600 });
    const runId = triggered();
    await until("the run waits", () => wire.platform.status(runId) === "EXECUTING_WITH_WAITPOINTS", 60_000);
    host.crash(wire.gateway.names()[0] ?? "");
    await until("the run executes again", () => wire.platform.run(runId).attemptNumber === 2, 120_000);
    expect(wire.platform.run(runId).completions).toMatchObject([{ ok: false, error: { code: "TASK_PROCESS_EXITED_WITH_NON_ZERO_CODE" } }]);
    expect(host.children.size).toBe(1);
  }, 180_000);
});
