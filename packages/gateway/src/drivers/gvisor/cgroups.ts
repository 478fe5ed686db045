// Which limits this host lets us set on a sandbox, and what a sandbox uses.
import { access, constants, readFile, readdir, rmdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { SandboxUsage } from "../driver.ts";

const ROOT = "/sys/fs/cgroup";
const NEEDED = ["memory", "cpu", "pids"] as const;

/** `none`: runsc is told to leave cgroups alone, and `why` says what the operator loses. */
export type Cgroups = { readonly kind: "v1" | "v2"; readonly parent: string } | { readonly kind: "none"; readonly why: string };

/** Looks at the host. Writes nothing but, on v2, the delegation that limits need. */
export async function detectCgroups(parent: string): Promise<Cgroups> {
  const controllers = await readFile(join(ROOT, "cgroup.controllers"), "utf8").catch(() => undefined);
  if (controllers !== undefined) return await detectV2(parent, controllers.split(/\s+/));
  const missing: string[] = [];
  for (const name of NEEDED) if (!(await isWritable(join(ROOT, name)))) missing.push(name);
  if (missing.length === 0) return { kind: "v1", parent };
  return { kind: "none", why: `cgroup v1 controllers ${missing.join(", ")} cannot be used under ${ROOT}` };
}

async function detectV2(parent: string, controllers: readonly string[]): Promise<Cgroups> {
  const missing = NEEDED.filter((name) => !controllers.includes(name));
  if (missing.length > 0) return { kind: "none", why: `cgroup v2 controllers ${missing.join(", ")} are not available` };
  try {
    await writeFile(join(ROOT, "cgroup.subtree_control"), NEEDED.map((name) => `+${name}`).join(" "));
    return { kind: "v2", parent };
  } catch (error) {
    return { kind: "none", why: `cgroup v2 cannot be delegated: ${(error as Error).message}` };
  }
}

function isWritable(path: string): Promise<boolean> {
  return access(path, constants.W_OK).then(
    () => true,
    () => false,
  );
}

/** `weight`: idle CPU is anybody's, and a small machine boots and wakes as fast as a large one. `hard`: a quota, for who sells CPU time. */
export type CpuLimit = "weight" | "hard";

/** What runsc's configuration says about limits. */
export function resourceLimits(options: {
  readonly cpu: number;
  readonly memoryBytes: number;
  readonly cpuLimit: CpuLimit;
}): Record<string, unknown> {
  return {
    memory: { limit: options.memoryBytes + SANDBOX_OVERHEAD_BYTES },
    pids: { limit: MAX_HOST_THREADS },
    cpu: {
      shares: Math.max(2, Math.round(options.cpu * 1024)),
      ...(options.cpuLimit === "hard" ? { quota: Math.round(options.cpu * PERIOD_US), period: PERIOD_US } : {}),
    },
  };
}

const PERIOD_US = 100_000;
/** The sandbox's own kernel and file server: 15 MB measured, more with many open files. */
const SANDBOX_OVERHEAD_BYTES = 64 * 1024 * 1024;
/** Counts host threads, of which each guest thread needs one to two: with 60, fork failed at 18 processes. */
const MAX_HOST_THREADS = 2_048;

/** Where the limit on a sandbox's memory stands, and what stands there for none; undefined where limits cannot be set. */
export function memoryLimitFile(cgroups: Cgroups, id: string): { readonly path: string; readonly none: string } | undefined {
  if (cgroups.kind === "none") return undefined;
  const [file, none] = cgroups.kind === "v1" ? ["memory.limit_in_bytes", "-1"] : ["memory.max", "max"];
  return { path: join(memoryDir(cgroups, id), file), none };
}

function memoryDir(cgroups: Exclude<Cgroups, { kind: "none" }>, id: string): string {
  return cgroups.kind === "v1" ? join(ROOT, "memory", cgroups.parent, id) : join(ROOT, cgroups.parent, id);
}

/** Whether the host has killed something of the sandbox because its memory was used up. Known until the sandbox is destroyed. */
export async function hasKilledForMemory(cgroups: Cgroups, id: string): Promise<boolean> {
  if (cgroups.kind === "none") return false;
  const file = cgroups.kind === "v1" ? "memory.oom_control" : "memory.events";
  const text = await readFile(join(memoryDir(cgroups, id), file), "utf8").catch(() => "");
  return Number(/^oom_kill (\d+)$/m.exec(text)?.[1] ?? 0) > 0;
}

/** What the sandbox's cgroup says; nulls where there is none. */
export async function cgroupUsage(cgroups: Cgroups, id: string): Promise<SandboxUsage> {
  if (cgroups.kind === "none") return { memoryBytes: null, processCount: null };
  const dir = memoryDir(cgroups, id);
  const memory = await readFile(join(dir, cgroups.kind === "v1" ? "memory.usage_in_bytes" : "memory.current"), "utf8").catch(
    () => undefined,
  );
  const processes = await readFile(join(dir, "cgroup.procs"), "utf8").catch(() => undefined);
  return {
    memoryBytes: memory === undefined ? null : Number(memory),
    processCount: processes === undefined ? null : processes.split("\n").filter((line) => line !== "").length,
  };
}

/** Removes the plane's empty cgroups. Idempotent; what still holds processes stays, and is said. */
export async function removeCgroups(parent: string): Promise<void> {
  const controllers = (await readdir(ROOT, { withFileTypes: true }).catch(() => [])).filter(
    (entry) => entry.isDirectory() || entry.isSymbolicLink(),
  );
  const dirs = [join(ROOT, parent), ...controllers.map((entry) => join(ROOT, entry.name, parent))];
  for (const dir of dirs) {
    for (const child of await readdir(dir, { withFileTypes: true }).catch(() => []))
      if (child.isDirectory()) await removeDir(join(dir, child.name));
    await removeDir(dir);
  }
}

async function removeDir(dir: string): Promise<void> {
  await rmdir(dir).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT") throw new Error(`Cannot remove cgroup ${dir}: ${error.message}`, { cause: error });
  });
}
