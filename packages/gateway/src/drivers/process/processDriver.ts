// Sandboxes without isolation: plain processes of this host, for machines where gVisor cannot run. Nothing keeps a task from
// the host, and memory cannot be saved. Each has a session of its own, which is killed whole; it outlives this process, and the
// next one finds it again by process id and start time.
import { spawn } from "node:child_process";
import { mkdir, open, readFile, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Clock, Timer } from "@torpor/kernel";
import type { Log } from "@torpor/observe";
import { z } from "zod";
import { codeOf, writeWhole } from "../../fileWrites.ts";
import type {
  ComputeDriver,
  FoundSandbox,
  GuestReach,
  SandboxExit,
  SandboxId,
  SandboxImage,
  SandboxSpec,
  SandboxUsage,
  StartOutcome,
} from "../driver.ts";
import { Serial } from "../../serial.ts";
import { killSession, membersOf, startMark } from "./hostProcesses.ts";

export interface ProcessDriverOptions {
  readonly stateDir: string;
  readonly services: readonly { readonly host: string; readonly port: number }[];
  /** Puts an image's app into a folder that does not exist yet and says which file Node starts. */
  readonly install: (image: SandboxImage, appDir: string) => Promise<{ readonly controller: string }>;
}

/** What is written down of each process. Before it is started there is no pid. */
const ProcessRecord = z.object({ pid: z.number().int().nullable(), startMark: z.string().nullable() });

/** Processes that an earlier gateway started are not our children: their end shows only when we look. */
const LOOK_MS = 500;
const PAGE_BYTES = 4_096;

/** Prepares the folders and returns the driver. */
export async function startProcessDriver(options: ProcessDriverOptions, dependencies: { clock: Clock; log: Log }): Promise<ProcessDriver> {
  const driver = new ProcessDriver(options, dependencies);
  await driver.makeFolders();
  return driver;
}

export class ProcessDriver implements ComputeDriver {
  readonly name = "process";
  readonly can = { snapshot: false } as const;
  readonly fingerprint = { driver: "process" } as const;
  readonly warnings = [
    "tasks run as plain processes: they are not isolated from this machine, limits are not enforced, and waiting tasks stay in memory",
  ] as const;
  readonly reach: GuestReach;
  readonly #options: ProcessDriverOptions;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #installing = new Serial();
  readonly #alive = new Map<SandboxId, { readonly pid: number; look?: Timer }>();
  #listener: (exit: SandboxExit) => void = () => undefined;

  constructor(options: ProcessDriverOptions, { clock, log }: { clock: Clock; log: Log }) {
    this.#options = options;
    this.#clock = clock;
    this.#log = log;
    this.reach = {
      services: Object.fromEntries(options.services.map(({ host, port }) => [`${host}:${port}`, { host, port }])),
      metadataUrl: null,
    };
  }

  async makeFolders(): Promise<void> {
    await mkdir(this.#sandboxesDir, { recursive: true, mode: 0o700 });
    await mkdir(this.#appsDir, { recursive: true, mode: 0o700 });
  }

  async create(spec: SandboxSpec): Promise<StartOutcome> {
    let app: { dir: string; controller: string };
    try {
      app = await this.#app(spec.image);
    } catch (error) {
      return { kind: "refused", reason: "bad_image", message: `Cannot install image ${spec.image.digest}: ${(error as Error).message}` };
    }
    const dir = join(this.#sandboxesDir, spec.id);
    await mkdir(dir, { mode: 0o700 });
    await writeWhole(join(dir, "process.json"), JSON.stringify({ pid: null, startMark: null }));
    const pid = await this.#spawn(spec, app, dir);
    if (typeof pid === "string") {
      await rm(dir, { recursive: true, force: true });
      return { kind: "refused", reason: "failed", message: `Cannot start ${spec.id}: ${pid}` };
    }
    await writeWhole(join(dir, "process.json"), JSON.stringify({ pid, startMark: (await startMark(pid)) ?? null }));
    return { kind: "started", address: null, timingMs: {} };
  }

  async prepare(): Promise<StartOutcome & { kind: "refused" }> {
    return { kind: "refused", reason: "bad_image", message: "Cannot restore: this driver has no snapshots" };
  }

  async spare(): Promise<StartOutcome & { kind: "refused" }> {
    return await this.prepare();
  }

  async assign(): Promise<StartOutcome> {
    return await this.prepare();
  }

  async restore(): Promise<StartOutcome> {
    return await this.prepare();
  }

  async freeze(): Promise<{ kind: "failed"; message: string }> {
    return { kind: "failed", message: "Cannot freeze: this driver has no snapshots" };
  }

  async save(): Promise<{ kind: "failed"; reason: "checkpoint_failed"; message: string }> {
    return { kind: "failed", reason: "checkpoint_failed", message: "Cannot save: this driver has no snapshots" };
  }

  async thaw(id: SandboxId): Promise<{ kind: "thawed" } | { kind: "gone" }> {
    return this.#alive.has(id) ? { kind: "thawed" } : { kind: "gone" };
  }

  async destroy(id: SandboxId): Promise<void> {
    const known = this.#alive.get(id);
    this.#alive.delete(id);
    known?.look?.cancel();
    const pid = known?.pid ?? (await this.#recordedPid(id));
    if (pid !== undefined) await killSession(pid, this.#clock);
    await rm(join(this.#sandboxesDir, id), { recursive: true, force: true });
  }

  async list(): Promise<FoundSandbox[]> {
    const found: FoundSandbox[] = [];
    for (const id of await readdir(this.#sandboxesDir)) {
      const record = await this.#record(id);
      if (record?.pid == null) found.push({ id, state: "never_ran", address: null });
      else found.push({ id, state: (await startMark(record.pid)) === record.startMark ? "running" : "ended", address: null });
    }
    return found;
  }

  async adopt(id: SandboxId): Promise<"adopted" | "gone"> {
    if (this.#alive.has(id)) return "adopted";
    const record = await this.#record(id);
    if (record?.pid == null || (await startMark(record.pid)) !== record.startMark) return "gone";
    this.#alive.set(id, { pid: record.pid });
    this.#look(id, record.pid, record.startMark);
    return "adopted";
  }

  async usage(id: SandboxId): Promise<SandboxUsage | undefined> {
    const known = this.#alive.get(id);
    if (known === undefined) return undefined;
    if (process.platform !== "linux") return { memoryBytes: null, processCount: null };
    const members = await membersOf(known.pid);
    return { memoryBytes: members.reduce((sum, { residentPages }) => sum + residentPages, 0) * PAGE_BYTES, processCount: members.length };
  }

  onExit(listener: (exit: SandboxExit) => void): void {
    this.#listener = listener;
  }

  async close(): Promise<void> {
    for (const { look } of this.#alive.values()) look?.cancel();
    this.#alive.clear();
  }

  async dispose(): Promise<void> {
    await rm(join(this.#options.stateDir, "process"), { recursive: true, force: true });
  }

  get #sandboxesDir(): string {
    return join(this.#options.stateDir, "process", "sandboxes");
  }

  get #appsDir(): string {
    return join(this.#options.stateDir, "process", "apps");
  }

  /** One copy of each image's app, with manifests that name files of the host; all its sandboxes share it. */
  #app(image: SandboxImage): Promise<{ dir: string; controller: string }> {
    return this.#installing.run(async () => {
      const dir = join(this.#appsDir, image.digest, "app");
      const doneFile = join(this.#appsDir, image.digest, "controller");
      const controller = await readFile(doneFile, "utf8").catch(() => undefined);
      if (controller !== undefined) return { dir, controller };
      // Manifests hold absolute paths, so the app is written where it will stay; the file beside it says that it is whole
      await rm(dir, { recursive: true, force: true });
      await mkdir(join(this.#appsDir, image.digest), { recursive: true });
      const installed = await this.#options.install(image, dir);
      await writeWhole(doneFile, installed.controller);
      return { dir, controller: installed.controller };
    });
  }

  /** The process id, or why there is none. */
  async #spawn(spec: SandboxSpec, app: { dir: string; controller: string }, dir: string): Promise<number | string> {
    const output = await open(join(dir, "output.log"), "a", 0o600);
    try {
      const env = { ...spec.image.env, HOME: app.dir, PATH: process.env["PATH"] ?? "/usr/bin:/bin", ...spec.env };
      const child = spawn(process.execPath, [app.controller, ...spec.image.args.slice(2)], {
        cwd: app.dir,
        env,
        detached: true,
        stdio: ["ignore", output.fd, output.fd],
      });
      const failure = await new Promise<Error | undefined>((resolve) =>
        child.once("error", resolve).once("spawn", () => resolve(undefined)),
      );
      if (failure !== undefined || child.pid === undefined) return failure?.message ?? "it has no process id";
      const { pid } = child;
      this.#alive.set(spec.id, { pid });
      child.once("exit", (code) => void this.#ended(spec.id, pid, code));
      child.unref();
      return pid;
    } finally {
      await output.close();
    }
  }

  /** The first process is gone: what it started goes too. */
  async #ended(id: SandboxId, pid: number, exitCode: number | null): Promise<void> {
    if (this.#alive.get(id)?.pid !== pid) return;
    this.#alive.delete(id);
    await killSession(pid, this.#clock).catch((error: unknown) =>
      this.#log.error({ err: error, sandbox: id }, "cannot end what a sandbox left"),
    );
    this.#listener({ id, exitCode });
  }

  #look(id: SandboxId, pid: number, mark: string | null): void {
    const known = this.#alive.get(id);
    if (known?.pid !== pid) return;
    known.look = this.#clock.after(LOOK_MS, () => {
      void startMark(pid).then((now) => (now === mark ? this.#look(id, pid, mark) : this.#ended(id, pid, null)));
    });
  }

  async #record(id: SandboxId): Promise<z.infer<typeof ProcessRecord> | undefined> {
    try {
      return ProcessRecord.parse(JSON.parse(await readFile(join(this.#sandboxesDir, id, "process.json"), "utf8")));
    } catch (error) {
      if (codeOf(error) === "ENOENT") return undefined;
      throw error;
    }
  }

  /** Only what is certainly still ours: its first process, or what that left in its session. */
  async #recordedPid(id: SandboxId): Promise<number | undefined> {
    const record = await this.#record(id);
    if (record?.pid == null) return undefined;
    const mark = await startMark(record.pid);
    return mark === undefined || mark === record.startMark ? record.pid : undefined;
  }
}
