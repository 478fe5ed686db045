// A file system in memory, mounted for this plane alone: what is written there never reaches a disk.
import { mkdir, readFile, stat, statfs } from "node:fs/promises";
import { dirname } from "node:path";
import { codeOf } from "../fileWrites.ts";
import { exec } from "../drivers/gvisor/exec.ts";

const TMPFS_MAGIC = 0x01021994;
const MOUNT_MS = 10_000;
/** More than one on the same folder: two gateways that were killed in the middle of a start. */
const MAX_LAYERS = 64;

/** `swappable`: the kernel is older than 6.4 and may write it to swap, if there is any. */
export type Mounted = { readonly kind: "mounted" } | { readonly kind: "swappable" } | { readonly kind: "failed"; readonly message: string };

/**
 * Mounts one of `sizeBytes` on `dir`, for root alone. Large pages: with them, writing and reading 150 MB takes a third of the time.
 */
export async function mountTmpfs(dir: string, sizeBytes: number): Promise<Mounted> {
  await mkdir(dir, { recursive: true, mode: 0o700 });
  const common = `size=${sizeBytes},mode=0700,nosuid,nodev,noexec`;
  for (const [options, kind] of [
    [`${common},noswap,huge=within_size`, "mounted"],
    [`${common},noswap`, "mounted"],
    [common, "swappable"],
  ] as const) {
    const result = await exec("mount", ["-t", "tmpfs", "-o", options, "torpor-staging", dir], { timeoutMs: MOUNT_MS });
    if (result.code === 0) return { kind: kind === "swappable" && (await hasSwap()) ? "swappable" : "mounted" };
    if (kind === "swappable") return { kind: "failed", message: result.stderr.trim().slice(0, 200) };
  }
  return { kind: "failed", message: "no way to mount it was tried" };
}

/** Takes away whatever is mounted on `dir`; files that a process has open live until it closes them. Idempotent. */
export async function unmountAll(dir: string): Promise<void> {
  for (let layer = 0; layer < MAX_LAYERS && (await isMountPoint(dir)); layer++) {
    const result = await exec("umount", ["--lazy", dir], { timeoutMs: MOUNT_MS });
    if (result.code !== 0) throw new Error(`Cannot unmount ${dir}: ${result.stderr.trim().slice(0, 200)}`);
  }
}

export async function isTmpfs(dir: string): Promise<boolean> {
  try {
    return (await statfs(dir)).type === TMPFS_MAGIC;
  } catch (error) {
    if (codeOf(error) === "ENOENT") return false;
    throw error;
  }
}

/** What is mounted is another device than the folder around it. */
async function isMountPoint(dir: string): Promise<boolean> {
  const [inner, outer] = await Promise.all([stat(dir).catch(() => undefined), stat(dirname(dir)).catch(() => undefined)]);
  return inner !== undefined && outer !== undefined && inner.dev !== outer.dev;
}

async function hasSwap(): Promise<boolean> {
  const swaps = await readFile("/proc/swaps", "utf8").catch(() => "");
  return swaps.trim().split("\n").length > 1;
}
