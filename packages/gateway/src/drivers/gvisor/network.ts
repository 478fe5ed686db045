// One network namespace and one point-to-point link per sandbox. There is no bridge, so there is no bridge address that
// changes when a link goes, which would leave running sandboxes with a stale neighbour.
import { access, mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { formatAddress, type Block } from "./addressBlock.ts";
import { exec, execOrThrow } from "./exec.ts";
import { needsForwarding, nftScript, type NetworkPolicy } from "./nftRules.ts";

/** What one sandbox has of the network. Everything follows from the slot's number. */
export interface Link {
  readonly slot: number;
  readonly address: string;
  readonly namespace: string;
  readonly namespacePath: string;
  readonly interfaceName: string;
}

export interface NetworkOptions {
  readonly planeId: string;
  readonly runDir: string;
  readonly block: Block;
}

const IP_MS = 10_000;

/** Makes and removes the links of one plane. */
export class Network {
  readonly #options: NetworkOptions;
  readonly #used = new Set<number>();
  #next = 0;

  constructor(options: NetworkOptions) {
    this.#options = options;
  }

  /** How many sandboxes the block has addresses for: without its first, the gateway's, and the last. */
  get capacity(): number {
    return 2 ** (32 - this.#options.block.prefix) - 3;
  }

  get table(): string {
    return `torpor_${this.#options.planeId}`;
  }

  get interfacePrefix(): string {
    return interfacePrefix(this.#options.planeId);
  }

  /** Loads the plane's rules, replacing what was there in one step: connections that are open stay open. */
  async applyPolicy(policy: Omit<NetworkPolicy, "table" | "interfacePrefix" | "block">): Promise<void> {
    const whole = { ...policy, table: this.table, interfacePrefix: this.interfacePrefix, block: this.#options.block };
    await execOrThrow("nft", ["-f", "-"], { timeoutMs: IP_MS, input: nftScript(whole) });
    if (needsForwarding(policy)) await enableForwarding(this.#options.runDir, this.#options.planeId);
  }

  /** The link with this number, whether it exists or not. */
  linkOf(slot: number): Link {
    const namespace = `torpor-${this.#options.planeId}-${slot}`;
    return {
      slot,
      address: formatAddress(this.#options.block.firstAddress + 2 + slot),
      namespace,
      namespacePath: `/run/netns/${namespace}`,
      interfaceName: `${this.interfacePrefix}${slot}`,
    };
  }

  /**
   * Takes the next free number; undefined when none is left. Numbers go round: an address rests as long as possible before
   * it is used again, so that no connection of its last owner is mistaken for one of the next.
   */
  reserve(): Link | undefined {
    for (let tried = 0; tried < this.capacity; tried++) {
      const slot = this.#next;
      this.#next = (this.#next + 1) % this.capacity;
      if (this.#used.has(slot)) continue;
      this.#used.add(slot);
      return this.linkOf(slot);
    }
    return undefined;
  }

  /** Marks a link that an earlier process made as used. */
  adopt(slot: number): Link {
    this.#used.add(slot);
    return this.linkOf(slot);
  }

  /** Makes the link in a namespace of its own. Throws when the host refuses; what was made is left to `remove`. */
  async make(link: Link): Promise<void> {
    await execOrThrow("ip", ["netns", "add", link.namespace], { timeoutMs: IP_MS });
    const gateway = formatAddress(this.#options.block.firstAddress + 1);
    const name = link.interfaceName;
    await execOrThrow("ip", ["-batch", "-"], {
      timeoutMs: IP_MS,
      input: `link add ${name} type veth peer name eth0 netns ${link.namespace}\n`,
    });
    await hardenInterface(name);
    const inside = [
      `link set lo up`,
      `addr add ${link.address}/32 dev eth0`,
      `link set eth0 up`,
      `route add ${gateway} dev eth0`,
      `route add default via ${gateway} dev eth0`,
    ];
    const outside = [`addr add ${gateway}/32 dev ${name}`, `link set ${name} up`, `route add ${link.address}/32 dev ${name}`];
    await execOrThrow("ip", ["-batch", "-"], { timeoutMs: IP_MS, input: lines(outside) });
    await execOrThrow("ip", ["-n", link.namespace, "-batch", "-"], { timeoutMs: IP_MS, input: lines(inside) });
  }

  /** Removes the link and its namespace. Idempotent. Throws when something is left. */
  async remove(link: Link): Promise<void> {
    // The host's end goes first and at once; with the namespace alone it would go some time later
    await exec("ip", ["link", "del", link.interfaceName], { timeoutMs: IP_MS });
    await exec("ip", ["netns", "del", link.namespace], { timeoutMs: IP_MS });
    if (await exists(link.namespacePath)) throw new Error(`Cannot remove network namespace ${link.namespace}`);
    this.#used.delete(link.slot);
  }

  /** Numbers of the plane's namespaces that exist on this host. */
  async listSlots(): Promise<number[]> {
    const prefix = `torpor-${this.#options.planeId}-`;
    const names = await readdir("/run/netns").catch(() => [] as string[]);
    return names.filter((name) => name.startsWith(prefix)).map((name) => Number(name.slice(prefix.length)));
  }

  /** Removes the plane's table. Idempotent. */
  async dispose(): Promise<void> {
    await exec("nft", ["delete", "table", "inet", this.table], { timeoutMs: IP_MS });
    await releaseForwarding(this.#options.runDir, this.#options.planeId);
  }
}

/** Names of interfaces have at most 15 characters: 2 + 6 + 1 + 4 at most. */
export function interfacePrefix(planeId: string): string {
  return `tp${planeId}-`;
}

function lines(commands: readonly string[]): string {
  return `${commands.join("\n")}\n`;
}

/** Before the link is up: no packet is ever judged by weaker settings. */
async function hardenInterface(name: string): Promise<void> {
  const ipv4 = `/proc/sys/net/ipv4/conf/${name}`;
  await writeFile(join(ipv4, "rp_filter"), "1"); // a guest's packets carry the guest's address (N3)
  await writeFile(join(ipv4, "route_localnet"), "1"); // services on loopback can be translated to; `guard` allows only those
  await writeFile(`/proc/sys/net/ipv6/conf/${name}/disable_ipv6`, "1").catch(() => undefined); // absent on hosts without IPv6
}

const FORWARD = "/proc/sys/net/ipv4/ip_forward";

/** Turns forwarding on, and remembers who needs it and whether it was off before: the last plane that goes turns it off again. */
async function enableForwarding(runDir: string, planeId: string): Promise<void> {
  const dir = join(runDir, "_forwarding");
  await mkdir(dir, { recursive: true });
  if ((await readFile(FORWARD, "utf8")).trim() === "0") await writeFile(join(dir, ".was-off"), "");
  await writeFile(join(dir, planeId), "");
  await writeFile(FORWARD, "1");
}

async function releaseForwarding(runDir: string, planeId: string): Promise<void> {
  const dir = join(runDir, "_forwarding");
  await rm(join(dir, planeId), { force: true });
  const left = await readdir(dir).catch(() => [] as string[]);
  if (left.length !== 1 || left[0] !== ".was-off") return;
  await writeFile(FORWARD, "0");
  await rm(dir, { recursive: true, force: true });
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
