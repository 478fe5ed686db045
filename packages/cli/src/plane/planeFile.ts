import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";

/** What a running plane tells other commands about itself. Holds keys: its owner alone can read it. */
export const PlaneFile = z.object({
  planeId: z.string(),
  driver: z.enum(["gvisor", "process"]),
  pid: z.number().int(),
  apiUrl: z.string(),
  gatewayUrl: z.string(),
  workloadUrl: z.string(),
  warmStartUrl: z.string(),
  adminToken: z.string(),
  gatewayToken: z.string(),
  ports: z.record(z.string(), z.number().int()),
});
export type PlaneFile = z.infer<typeof PlaneFile>;

const NAME = "plane.json";

/** The file of a data directory, or undefined when no plane was started there. */
export function readPlaneFile(dataDir: string): PlaneFile | undefined {
  try {
    return PlaneFile.parse(JSON.parse(readFileSync(join(dataDir, NAME), "utf8")));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

export function writePlaneFile(dataDir: string, plane: PlaneFile): void {
  const file = join(dataDir, NAME);
  writeFileSync(`${file}.new`, JSON.stringify(plane, null, 2), { mode: 0o600 });
  renameSync(`${file}.new`, file);
}

export function removePlaneFile(dataDir: string): void {
  rmSync(join(dataDir, NAME), { force: true });
}

/** Whether a process with this id is there. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
