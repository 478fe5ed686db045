// What a gVisor driver is made of, and how it is put together and taken apart.
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { lookup } from "node:dns/promises";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import type { Clock, Timer } from "@torpor/kernel";
import type { Log } from "@torpor/observe";
import type { GuestReach } from "../driver.ts";
import { claimBlock, releaseBlock } from "./addressBlock.ts";
import { BUNDLE_RECIPE } from "./bundle.ts";
import { detectCgroups, hasKilledForMemory, removeCgroups, type Cgroups, type CpuLimit } from "./cgroups.ts";
import { exec } from "./exec.ts";
import { ExitWatches } from "./exitWatches.ts";
import { settleLeftovers } from "./leftovers.ts";
import { MetadataServer } from "./metadataServer.ts";
import { Network } from "./network.ts";
import { GUEST_HOST, type Service } from "./nftRules.ts";
import { Runsc, runscVersion } from "./runsc.ts";
import { SandboxFolder, listFolders } from "./sandboxFolder.ts";
import { SpareLinks } from "./spareLinks.ts";

/** A service that sandboxes may reach: `GUEST_HOST:guestPort` leads to `host:port`. */
export interface ServiceSetting {
  readonly guestPort: number;
  readonly host: string;
  readonly port: number;
}

export interface GvisorOptions {
  /** Tells the planes of one machine apart: 1 to 6 characters of [a-z0-9]. */
  readonly planeId: string;
  /** Short path on a local file system, emptied at boot. All planes of a machine share it. */
  readonly runDir: string;
  readonly stateDir: string;
  readonly runscBinary: string;
  readonly services: readonly ServiceSetting[];
  readonly egress: "none" | "internet";
  /** How much a sandbox may write to its own copy of the image. */
  readonly sandboxDiskBytes: number;
  /** Cores that every sandbox may use when they are free, however small its machine is. */
  readonly cpuLimit: CpuLimit;
  readonly addressBlock?: string | undefined;
}

export interface GvisorParts {
  readonly options: GvisorOptions;
  readonly clock: Clock;
  readonly log: Log;
  readonly runsc: Runsc;
  readonly network: Network;
  readonly spareLinks: SpareLinks;
  readonly metadata: MetadataServer;
  readonly watches: ExitWatches;
  readonly cgroups: Cgroups;
  readonly cpuLimit: CpuLimit;
  readonly resolvConf: string;
  /** Names this boot of the machine. */
  readonly bootId: string;
  readonly sandboxesDir: string;
  readonly fingerprint: Readonly<Record<string, string>>;
  readonly warnings: readonly string[];
  readonly reach: GuestReach;
  readonly housekeeping: { timer: Timer | undefined };
}

/** Calls of an earlier process are given this long to end. */
const LEFTOVER_MS = 20_000;
const TRIM_MS = 5_000;

/** Paths of a plane. */
export function planePaths({ runDir, planeId, stateDir }: Pick<GvisorOptions, "runDir" | "planeId" | "stateDir">) {
  const planeDir = join(runDir, planeId);
  const workDir = join(stateDir, "gvisor");
  return {
    planeDir,
    workDir,
    runscRoot: join(planeDir, "s"),
    sandboxesDir: join(workDir, "sandboxes"),
    overlayDir: join(workDir, "overlay"),
    cgroupParent: `torpor-${planeId}`,
  };
}

/** Builds everything and makes it ready; what an earlier process of the plane left is settled first. */
export async function assemble(options: GvisorOptions, { clock, log }: { clock: Clock; log: Log }): Promise<GvisorParts> {
  const paths = planePaths(options);
  for (const dir of [paths.runscRoot, paths.sandboxesDir, paths.overlayDir]) await mkdir(dir, { recursive: true, mode: 0o711 });
  await settleLeftovers(paths.runscRoot, clock, LEFTOVER_MS);
  const cgroups = await detectCgroups(paths.cgroupParent);
  const runsc = new Runsc({
    binary: options.runscBinary,
    stateRoot: paths.runscRoot,
    flags: runscFlags(options, paths.overlayDir, cgroups),
  });
  const block = await claimBlock(options.runDir, options.planeId, options.addressBlock);
  const network = new Network({ planeId: options.planeId, runDir: options.runDir, block });
  const metadata = new MetadataServer();
  const resolver = await findResolver();
  const services = await resolveServices(options.services, await metadata.listen());
  await network.applyPolicy({ services, egress: options.egress, resolver });
  const resolvConf = join(paths.workDir, "resolv.conf");
  await writeFile(
    resolvConf,
    options.egress === "internet" && resolver !== null ? `nameserver ${GUEST_HOST}\n` : "# no names can be looked up\n",
  );
  const parts: GvisorParts = {
    options,
    clock,
    log,
    runsc,
    network,
    metadata,
    cgroups,
    resolvConf,
    bootId: (await readFile("/proc/sys/kernel/random/boot_id", "utf8")).trim(),
    cpuLimit: options.cpuLimit,
    sandboxesDir: paths.sandboxesDir,
    spareLinks: new SpareLinks(network, log),
    watches: new ExitWatches(runsc, clock, (id) => hasKilledForMemory(cgroups, id)),
    fingerprint: await fingerprint(options.runscBinary),
    warnings: cgroups.kind === "none" ? [`cpu, memory and process limits are not enforced: ${cgroups.why}`] : [],
    reach: reachOf(options.services),
    housekeeping: { timer: undefined },
  };
  await removeOrphanLinks(parts);
  parts.spareLinks.refill();
  keepHouse(parts);
  return parts;
}

/**
 * overlay2 root:dir: the image is shared and stays as it is; each sandbox writes to a copy of its own in an unnamed file, so
 * nothing is left when it dies, however it dies. Compared with root:memory at 100 MB written: start, save and restore take the
 * same time and the saved image has the same size, but the written pages are file cache that the host may write out
 * (shmem 10 MB against 115 MB) and not memory of the task. root:self would put its file into the shared image.
 * Without a size the bound is half of the host's memory.
 */
function runscFlags(options: GvisorOptions, overlayDir: string, cgroups: Cgroups): string[] {
  const overlay = `--overlay2=root:dir=${overlayDir},size=${options.sandboxDiskBytes}`;
  return ["--network=sandbox", "--platform=systrap", overlay, ...(cgroups.kind === "none" ? ["--ignore-cgroups"] : [])];
}

/** A memory image fits the very runsc, platform and bundle it was made with: other combinations start, and die a moment later. */
async function fingerprint(runscBinary: string): Promise<Record<string, string>> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(runscBinary, { highWaterMark: 1024 * 1024 }), hash);
  return {
    driver: "gvisor",
    runsc: await runscVersion(runscBinary),
    runscSha256: hash.digest("hex"),
    platform: "systrap",
    arch: process.arch,
    bundle: BUNDLE_RECIPE,
  };
}

async function resolveServices(settings: readonly ServiceSetting[], metadataPort: number): Promise<Service[]> {
  const services: Service[] = [{ guestPort: 80, address: "127.0.0.1", port: metadataPort }];
  for (const { guestPort, host, port } of settings)
    services.push({ guestPort, port, address: (await lookup(host, { family: 4 })).address });
  return services;
}

function reachOf(settings: readonly ServiceSetting[]): GuestReach {
  const services = settings.map(({ host, port, guestPort }) => [`${host}:${port}`, { host: GUEST_HOST, port: guestPort }] as const);
  return { services: Object.fromEntries(services), metadataUrl: `http://${GUEST_HOST}` };
}

/** systemd's stub answers only to this host itself, so its upstream is taken. IPv4 only: sandboxes have nothing else. */
async function findResolver(): Promise<string | null> {
  for (const file of ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"]) {
    const text = await readFile(file, "utf8").catch(() => "");
    const servers = [...text.matchAll(/^nameserver\s+(\d+\.\d+\.\d+\.\d+)\s*$/gm)].map((match) => match[1] ?? "");
    const usable = servers.find((server) => server !== "127.0.0.53");
    if (usable !== undefined) return usable;
  }
  return null;
}

/** Links without a sandbox: spares of an earlier process, and starts that came no farther. */
async function removeOrphanLinks({ network, sandboxesDir }: GvisorParts): Promise<void> {
  const owned = new Set<number>();
  for (const id of await listFolders(sandboxesDir)) {
    const lease = await new SandboxFolder(sandboxesDir, id).lease();
    if (lease !== undefined) owned.add(network.adopt(lease.slot).slot);
  }
  for (const slot of await network.listSlots()) if (!owned.has(slot)) await network.remove(network.linkOf(slot));
}

function keepHouse(parts: GvisorParts): void {
  parts.housekeeping.timer = parts.clock.after(TRIM_MS, () => {
    const folders = parts.watches.ids().map((id) => new SandboxFolder(parts.sandboxesDir, id));
    void Promise.all(folders.map((folder) => folder.trimOutput()))
      .catch((error: unknown) => parts.log.error({ err: error }, "cannot trim a sandbox's output"))
      .finally(() => {
        if (parts.housekeeping.timer !== undefined) keepHouse(parts);
      });
  });
}

/** Lets go of everything; sandboxes and their rules stay. */
export async function detach(parts: GvisorParts): Promise<void> {
  parts.housekeeping.timer?.cancel();
  parts.housekeeping.timer = undefined;
  parts.watches.close();
  await parts.spareLinks.close();
  await parts.metadata.close();
}

/** Frees what the plane has on the host. */
export async function disposeGvisor(parts: GvisorParts): Promise<void> {
  await parts.spareLinks.close();
  await parts.network.dispose();
  await removePlane(parts.options);
}

/** Cgroups, runsc's state, the address block and all files of a plane without sandboxes. Idempotent. */
export async function removePlane(options: Pick<GvisorOptions, "runDir" | "planeId" | "stateDir">): Promise<void> {
  const paths = planePaths(options);
  await removeCgroups(paths.cgroupParent);
  await unmountAll(join(paths.runscRoot, "null-netns"));
  await releaseBlock(options.runDir, options.planeId);
  await rm(paths.planeDir, { recursive: true, force: true });
  await rm(paths.workDir, { recursive: true, force: true });
}

/** runsc keeps an empty network namespace for its file servers mounted there; two first starts at once mount two, one over the other. */
async function unmountAll(path: string): Promise<void> {
  for (let count = 0; count < 64; count++) {
    const result = await exec("umount", [path], { timeoutMs: 5_000 });
    if (result.code !== 0) return;
  }
}
