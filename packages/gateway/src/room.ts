// Is there room for one more sandbox, or one more memory image, on this machine?
import { readFile, statfs } from "node:fs/promises";
import { availableParallelism, freemem, totalmem } from "node:os";

export interface RoomLimits {
  readonly dir: string;
  readonly maxSandboxes: number;
  readonly minFreeDiskBytes: number;
  readonly minFreeMemoryBytes: number;
}

export interface NodeRoom {
  readonly cpuTotal: number;
  readonly memoryTotalBytes: number;
  readonly memoryAvailableBytes: number;
  readonly diskFreeBytes: number;
  readonly diskTotalBytes: number;
}

/** What the machine has and has left. */
export async function measureRoom(dir: string): Promise<NodeRoom> {
  const disk = await statfs(dir);
  return {
    cpuTotal: availableParallelism(),
    memoryTotalBytes: totalmem(),
    memoryAvailableBytes: await availableMemory(),
    diskFreeBytes: disk.bavail * disk.bsize,
    diskTotalBytes: disk.blocks * disk.bsize,
  };
}

/** What can be used without swapping; `freemem` would count file caches as used. */
async function availableMemory(): Promise<number> {
  const text = await readFile("/proc/meminfo", "utf8").catch(() => "");
  const kib = /^MemAvailable:\s+(\d+) kB$/m.exec(text)?.[1];
  return kib === undefined ? freemem() : Number(kib) * 1024;
}

/** Below this share of its memory a machine keeps nothing that it can do without. */
const SPARE_SHARE = 0.25;

/** Whether there is memory for what is only convenient. Pure. */
export function hasMemoryToSpare(room: Pick<NodeRoom, "memoryAvailableBytes" | "memoryTotalBytes">): boolean {
  return room.memoryAvailableBytes > room.memoryTotalBytes * SPARE_SHARE;
}

/** Why no further sandbox may start, or undefined. Pure. */
export function whyFull(room: NodeRoom, sandboxes: number, limits: RoomLimits): string | undefined {
  if (sandboxes >= limits.maxSandboxes) return `this node runs ${sandboxes} sandboxes, its limit`;
  if (room.memoryAvailableBytes < limits.minFreeMemoryBytes)
    return `this node has ${room.memoryAvailableBytes} bytes of memory left, and keeps ${limits.minFreeMemoryBytes}`;
  return whyDiskFull(room, limits);
}

/** Why no further memory image may be written, or undefined. Pure. */
export function whyDiskFull(room: NodeRoom, limits: RoomLimits): string | undefined {
  if (room.diskFreeBytes >= limits.minFreeDiskBytes) return undefined;
  return `this node has ${room.diskFreeBytes} bytes of disk left in ${limits.dir}, and keeps ${limits.minFreeDiskBytes}`;
}
