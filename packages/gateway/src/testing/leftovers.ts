// What planes of tests may not leave on the machine.
import { readFile, readdir } from "node:fs/promises";
import { execOrThrow } from "../drivers/gvisor/exec.ts";

/** Everything on this host that carries a plane's name: processes, networks, rules, cgroups, mounts, locks. */
export async function leftoversOf(planeId: string): Promise<string[]> {
  const found: string[] = [];
  const namespaces = await readdir("/run/netns").catch(() => [] as string[]);
  found.push(...namespaces.filter((one) => one.startsWith(`torpor-${planeId}-`)).map((one) => `netns ${one}`));
  const links = await readdir("/sys/class/net");
  found.push(...links.filter((one) => one.startsWith(`tp${planeId}-`)).map((one) => `interface ${one}`));
  const tables = await execOrThrow("nft", ["list", "tables"], { timeoutMs: 5_000 });
  if (tables.includes(`torpor_${planeId}`)) found.push(`table torpor_${planeId}`);
  for (const controller of await readdir("/sys/fs/cgroup")) {
    const groups = await readdir(`/sys/fs/cgroup/${controller}`).catch(() => [] as string[]);
    if (groups.includes(`torpor-${planeId}`)) found.push(`cgroup ${controller}/torpor-${planeId}`);
  }
  const mounts = await readFile("/proc/mounts", "utf8");
  if (mounts.includes(`/run/torpor/${planeId}/`)) found.push("mount");
  if ((await readdir("/run/torpor")).includes(planeId)) found.push("run folder");
  if ((await readdir("/run/torpor/_forwarding").catch(() => [] as string[])).includes(planeId)) found.push("forwarding");
  for (const claim of await readdir("/run/torpor/_blocks")) {
    if ((await readFile(`/run/torpor/_blocks/${claim}`, "utf8").catch(() => "")) === planeId) found.push(`address block ${claim}`);
  }
  return [...found, ...(await processesOf(`/run/torpor/${planeId}/`))];
}

async function processesOf(path: string): Promise<string[]> {
  const found: string[] = [];
  for (const name of await readdir("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const commandLine = await readFile(`/proc/${name}/cmdline`, "utf8").catch(() => "");
    if (commandLine.includes(path)) found.push(`process ${name} ${commandLine.split("\0").slice(0, 12).join(" ")}`);
  }
  return found;
}
