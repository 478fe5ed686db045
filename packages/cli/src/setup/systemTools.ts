// The programs that sandboxes need from the system, and how they come onto it.
import { readFile } from "node:fs/promises";
import { runChild } from "../commands/run.ts";
import { findOnPath } from "./findOnPath.ts";

export interface SystemTool {
  /** The program's name. */
  readonly program: string;
  /** The package that brings it on Debian and Ubuntu. */
  readonly package: string;
  readonly purpose: string;
}

/** Each is asked for by name somewhere: network namespaces, firewall rules, the libraries of Node for the task image. */
export const SYSTEM_TOOLS: readonly SystemTool[] = [
  { program: "ip", package: "iproute2", purpose: "gives each sandbox its own network" },
  { program: "nft", package: "nftables", purpose: "keeps sandboxes from the host and from one another" },
  { program: "zstd", package: "zstd", purpose: "makes memory on disk small" },
  { program: "ldd", package: "libc-bin", purpose: "finds the libraries of Node for task images" },
];

/** Users without root rights often have no sbin in PATH, where `ip` and `nft` live. */
const SBIN = "/usr/local/sbin:/usr/sbin:/sbin";
const APT_LOCK_SECONDS = 120;

/** How to install on systems where we only say how. The first whose id is in /etc/os-release counts. */
const INSTALL_COMMANDS: readonly (readonly [id: string, command: string])[] = [
  ["debian", "apt-get install"],
  ["ubuntu", "apt-get install"],
  ["fedora", "dnf install"],
  ["rhel", "dnf install"],
  ["suse", "zypper install"],
  ["arch", "pacman -S"],
  ["alpine", "apk add"],
];

export type SystemToolsOutcome =
  | { kind: "ready"; installed: readonly SystemTool[] }
  | {
      kind: "missing";
      reason: "refused" | "not_root" | "unknown_system" | "failed";
      tools: readonly SystemTool[];
      message: string;
      hint: string;
    };

export interface SystemToolsOptions {
  env: NodeJS.ProcessEnv;
  progress: (line: string) => void;
  /** False: look only (`--no-install`, `doctor`). */
  mayInstall: boolean;
  isRoot: boolean;
  /** Content of /etc/os-release; "" where there is none. */
  osRelease: string;
  /** Default: all that sandboxes need. */
  tools?: readonly SystemTool[];
  signal?: AbortSignal;
}

export async function findMissingTools(env: NodeJS.ProcessEnv, tools: readonly SystemTool[] = SYSTEM_TOOLS): Promise<SystemTool[]> {
  const withSbin = { ...env, PATH: `${env["PATH"] ?? ""}:${SBIN}` };
  const missing: SystemTool[] = [];
  for (const tool of tools) if ((await findOnPath(tool.program, withSbin)) === undefined) missing.push(tool);
  return missing;
}

/** Installs what is missing as root on Debian and Ubuntu, after saying so; elsewhere says what is missing and the command for it. */
export async function ensureSystemTools(options: SystemToolsOptions): Promise<SystemToolsOutcome> {
  const tools = await findMissingTools(options.env, options.tools);
  if (tools.length === 0) return { kind: "ready", installed: [] };
  const systems = systemIds(options.osRelease);
  const refused = (reason: "refused" | "not_root" | "unknown_system"): SystemToolsOutcome =>
    missing(reason, tools, installHint(tools, systems));
  if (!options.mayInstall) return refused("refused");
  if (!systems.includes("debian") && !systems.includes("ubuntu")) return refused("unknown_system");
  if (!options.isRoot) return refused("not_root");
  return await install(tools, options);
}

function missing(
  reason: Extract<SystemToolsOutcome, { kind: "missing" }>["reason"],
  tools: readonly SystemTool[],
  hint: string,
): SystemToolsOutcome {
  const message = `Missing on this machine: ${tools.map(({ program, purpose }) => `${program} (${purpose})`).join(", ")}`;
  return { kind: "missing", reason, tools, message, hint };
}

/** The system's own id first, then those of the systems it is like. */
export function systemIds(osRelease: string): string[] {
  const field = (name: string): string => new RegExp(`^${name}="?([^"\\n]*)"?$`, "m").exec(osRelease)?.[1] ?? "";
  return [field("ID"), ...field("ID_LIKE").split(" ")].filter((id) => id !== "");
}

export function installHint(tools: readonly SystemTool[], systems: readonly string[]): string {
  const packages = tools.map((tool) => tool.package).join(" ");
  const command = INSTALL_COMMANDS.find(([id]) => systems.includes(id))?.[1];
  if (command === undefined) return `Install the packages of your system that have them (on Debian: ${packages})`;
  return `Run as root: ${command} ${packages}`;
}

/** The package lists of a fresh machine may be old or empty: they are brought only when the first try fails. */
async function install(tools: readonly SystemTool[], options: SystemToolsOptions): Promise<SystemToolsOutcome> {
  const packages = tools.map((tool) => tool.package);
  options.progress(`Installing with apt-get: ${packages.join(", ")}`);
  const lock = ["-o", `DPkg::Lock::Timeout=${APT_LOCK_SECONDS}`];
  const installArgs = ["install", "--yes", "--no-install-recommends", ...lock, ...packages];
  let last = await aptGet(installArgs, options);
  if (last.code !== 0) {
    await aptGet(["update", ...lock], options);
    last = await aptGet(installArgs, options);
  }
  const still = await findMissingTools(options.env, tools);
  if (still.length === 0) return { kind: "ready", installed: tools };
  const tail = last.output.trim().split("\n").slice(-10).join("\n");
  return missing("failed", still, `apt-get ended with exit code ${last.code}:\n${tail}`);
}

function aptGet(args: readonly string[], { env, signal }: SystemToolsOptions): Promise<{ code: number; output: string }> {
  const quiet = { ...env, DEBIAN_FRONTEND: "noninteractive", NEEDRESTART_MODE: "l" };
  return runChild("apt-get", args, { cwd: "/", env: quiet, output: "collect", ...(signal !== undefined && { signal }) });
}

/** Content of /etc/os-release, "" where there is none. */
export async function readOsRelease(): Promise<string> {
  return await readFile("/etc/os-release", "utf8").catch(() => "");
}
