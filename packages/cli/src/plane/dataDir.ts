import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { isAbsolute, join, resolve } from "node:path";
import type { CommandContext, CommandInput } from "../command.ts";
import { textOption } from "../command.ts";

/** The option that every command about a plane takes. */
export const DATA_DIR_OPTION = {
  flags: "--data-dir <dir>",
  description: "where the plane keeps its data (default: TORPOR_DATA_DIR, or .torpor/plane of this checkout)",
} as const;

/** Where the plane keeps its data. */
export function dataDirOf(context: CommandContext, input: CommandInput): string {
  const named = textOption(input, "dataDir") ?? context.env["TORPOR_DATA_DIR"];
  if (named === undefined) return join(context.stateDir, "plane");
  return isAbsolute(named) ? named : resolve(context.cwd, named);
}

/** Makes a data directory. Others may pass through it (PostgreSQL runs as another user) and read nothing in it. */
export function ensureDataDir(dataDir: string): void {
  mkdirSync(dataDir, { recursive: true });
  chmodSync(dataDir, 0o711);
  mkdirSync(join(dataDir, "logs"), { recursive: true, mode: 0o700 });
}

const PROJECT_FILE = "project";

/** The project that was deployed last to this plane: what commands mean when none is named. */
export function readLastProject(dataDir: string): string | undefined {
  const file = join(dataDir, PROJECT_FILE);
  return existsSync(file) ? readFileSync(file, "utf8").trim() : undefined;
}

export function writeLastProject(dataDir: string, projectRef: string): void {
  writeFileSync(join(dataDir, PROJECT_FILE), `${projectRef}\n`, { mode: 0o600 });
}
