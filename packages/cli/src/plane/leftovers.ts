import { execFile } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

/** Where gateways keep sockets and state that must not outlive the machine's uptime. */
export const RUN_DIR = "/run/torpor";

/**
 * Everything of a plane that is still on this machine, each as a line for people: processes, network namespaces, interfaces,
 * packet-filter tables, mounts, control groups, files. An independent look: it asks the system, not the gateway.
 */
export async function leftoversOf(planeId: string): Promise<string[]> {
  return [
    ...processesOf(planeId),
    ...names("/run/netns", `torpor-${planeId}-`).map((name) => `network namespace ${name}`),
    ...names("/sys/class/net", `tp${planeId}-`).map((name) => `interface ${name}`),
    ...(await packetFilterTables(planeId)),
    ...mountsOf(planeId),
    ...controlGroupsOf(planeId),
    ...(existsSync(join(RUN_DIR, planeId)) ? [`folder ${join(RUN_DIR, planeId)}`] : []),
  ];
}

/** Sandboxes' processes carry the plane's folder in their arguments. */
function processesOf(planeId: string): string[] {
  return names("/proc", "")
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => ({ pid, command: readOrEmpty(`/proc/${pid}/cmdline`).replaceAll("\0", " ") }))
    .filter(({ command }) => command.includes(`${RUN_DIR}/${planeId}/`))
    .map(({ pid, command }) => `process ${pid}: ${command.slice(0, 80)}`);
}

async function packetFilterTables(planeId: string): Promise<string[]> {
  try {
    const { stdout } = await run("nft", ["list", "tables"], { timeout: 10_000 });
    return stdout
      .split("\n")
      .filter((line) => line.includes(`torpor_${planeId}`))
      .map((line) => `packet-filter ${line}`);
  } catch {
    return []; // without nft there are no tables of ours
  }
}

function mountsOf(planeId: string): string[] {
  return readOrEmpty("/proc/mounts")
    .split("\n")
    .map((line) => line.split(" ")[1] ?? "")
    .filter((path) => path.includes(`${RUN_DIR}/${planeId}/`))
    .map((path) => `mount ${path}`);
}

function controlGroupsOf(planeId: string): string[] {
  const roots = ["/sys/fs/cgroup", ...names("/sys/fs/cgroup", "").map((name) => join("/sys/fs/cgroup", name))];
  return roots
    .map((root) => join(root, `torpor-${planeId}`))
    .filter((path) => existsSync(path))
    .map((path) => `control group ${path}`);
}

function names(dir: string, prefix: string): string[] {
  try {
    return readdirSync(dir).filter((name) => name.startsWith(prefix));
  } catch {
    return []; // a folder that is not there holds nothing of ours
  }
}

function readOrEmpty(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return ""; // processes end while we look
  }
}
