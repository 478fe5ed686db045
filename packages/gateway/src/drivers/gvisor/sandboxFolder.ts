// The folder that the driver keeps for each sandbox: bundle, process id, output, and which link it has. The link is written
// down before it is made: whatever dies, the next start knows what to take away.
import { mkdir, open, readFile, readdir, rename, rm, stat, truncate, writeFile, type FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import type { SandboxId } from "../driver.ts";

const Lease = z.object({
  slot: z.number().int().nonnegative(),
  /** The boot of the machine that it was made in: what runsc knew is forgotten with it. */
  bootId: z.string(),
});
export type Lease = z.infer<typeof Lease>;

const Limits = z.object({
  linux: z.object({ resources: z.object({ memory: z.object({ limit: z.number() }).optional() }) }),
});

/** Output beyond this is dropped, oldest first. Checked every few seconds, so a fast writer is over it for a moment. */
const MAX_OUTPUT_BYTES = 8 * 1024 * 1024;
const KEPT_OUTPUT_BYTES = 512 * 1024;
/** So much of it is told. */
export const TOLD_BYTES = 16 * 1024;

/** Paths and small files of one sandbox. */
export class SandboxFolder {
  readonly dir: string;

  constructor(parentDir: string, id: SandboxId) {
    this.dir = join(parentDir, id);
  }

  get pidFile(): string {
    return join(this.dir, "pid");
  }

  get outputFile(): string {
    return join(this.dir, "output.log");
  }

  /** Makes the folder with its lease; throws when it exists: an id is used once. */
  async create(lease: Lease): Promise<void> {
    await mkdir(this.dir, { mode: 0o700 });
    await writeFile(join(this.dir, "lease.json.tmp"), JSON.stringify(lease));
    await rename(join(this.dir, "lease.json.tmp"), join(this.dir, "lease.json"));
  }

  /** Undefined when there is none: nothing was made yet. */
  async lease(): Promise<Lease | undefined> {
    const text = await readFile(join(this.dir, "lease.json"), "utf8").catch(() => undefined);
    return text === undefined ? undefined : Lease.parse(JSON.parse(text));
  }

  async writeConfig(config: Readonly<Record<string, unknown>>): Promise<void> {
    await writeFile(join(this.dir, "config.json"), JSON.stringify(config), { mode: 0o600 }); // holds the task's environment
  }

  /** The limit that its configuration names; undefined when it names none. */
  async memoryLimit(): Promise<number | undefined> {
    const text = await readFile(join(this.dir, "config.json"), "utf8").catch(() => undefined);
    return text === undefined ? undefined : Limits.parse(JSON.parse(text)).linux.resources.memory?.limit;
  }

  /** Opened for appending: what is cut off by us leaves no hole, and what the guest writes after a restore overwrites nothing. */
  openOutput(): Promise<FileHandle> {
    return open(this.outputFile, "a", 0o600);
  }

  /** The process id of the sandbox; undefined before it started. */
  async pid(): Promise<number | undefined> {
    const text = await readFile(this.pidFile, "utf8").catch(() => "");
    const pid = Number(text.trim());
    return Number.isInteger(pid) && pid > 1 ? pid : undefined;
  }

  /** The last of what the sandbox, or runsc on its way to it, printed. */
  async outputTail(bytes: number): Promise<string> {
    const handle = await open(this.outputFile, "r").catch(() => undefined);
    if (handle === undefined) return "";
    try {
      const { size } = await handle.stat();
      const { buffer, bytesRead } = await handle.read({ buffer: Buffer.alloc(Math.min(bytes, size)), position: Math.max(0, size - bytes) });
      return buffer.subarray(0, bytesRead).toString("utf8");
    } finally {
      await handle.close();
    }
  }

  /** Keeps the output bounded. */
  async trimOutput(): Promise<void> {
    const { size } = await stat(this.outputFile).catch(() => ({ size: 0 }));
    if (size <= MAX_OUTPUT_BYTES) return;
    const tail = await this.outputTail(KEPT_OUTPUT_BYTES);
    await truncate(this.outputFile);
    const handle = await this.openOutput();
    try {
      await handle.write(`[older output was dropped]\n${tail}`);
    } finally {
      await handle.close();
    }
  }

  async remove(): Promise<void> {
    await rm(this.dir, { recursive: true, force: true });
  }
}

/** Ids of all sandboxes that have a folder. */
export async function listFolders(parentDir: string): Promise<SandboxId[]> {
  const entries = await readdir(parentDir, { withFileTypes: true }).catch(() => []);
  return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
}
