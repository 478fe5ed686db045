// Which addresses a plane's sandboxes have. Two planes on one machine share no state but the folder in which blocks are claimed.
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { execOrThrow } from "./exec.ts";

/** An IPv4 block as first address and prefix length. */
export interface Block {
  readonly firstAddress: number;
  readonly prefix: number;
}

/** 1,024 addresses: the gateway's own, and one for each sandbox. */
export const BLOCK_PREFIX = 22;
const BLOCK_SIZE = 2 ** (32 - BLOCK_PREFIX);

/** The shared address space of RFC 6598 first: unlike 10/8 it is seldom routed inside companies. The other is for hosts that use it (Tailscale). */
export const POOLS: readonly Block[] = [parseBlock("100.64.0.0/10"), parseBlock("10.224.0.0/11")];

export function parseAddress(text: string): number {
  const parts = text.split(".").map(Number);
  if (parts.length !== 4 || parts.some((part) => !Number.isInteger(part) || part < 0 || part > 255))
    throw new Error(`Cannot read ${text} as an IPv4 address`);
  return parts.reduce((sum, part) => sum * 256 + part, 0);
}

export function formatAddress(address: number): string {
  return [24, 16, 8, 0].map((shift) => Math.floor(address / 2 ** shift) % 256).join(".");
}

/** `a.b.c.d/n`, or an address alone, which is a block of one. */
export function parseBlock(text: string): Block {
  const [address = "", prefix = "32"] = text.split("/");
  const length = Number(prefix);
  if (!Number.isInteger(length) || length < 0 || length > 32) throw new Error(`Cannot read ${text} as an IPv4 block`);
  const size = 2 ** (32 - length);
  return { firstAddress: Math.floor(parseAddress(address) / size) * size, prefix: length };
}

export function formatBlock(block: Block): string {
  return `${formatAddress(block.firstAddress)}/${block.prefix}`;
}

function overlaps(a: Block, b: Block): boolean {
  const endOf = (block: Block): number => block.firstAddress + 2 ** (32 - block.prefix);
  return a.firstAddress < endOf(b) && b.firstAddress < endOf(a);
}

/** Blocks of the pools that nobody uses, the pool's order turned by `seed`, so that planes seldom try the same one. */
export function* freeBlocks(used: readonly Block[], seed: number): IterableIterator<Block> {
  for (const pool of POOLS) {
    const count = 2 ** (BLOCK_PREFIX - pool.prefix);
    for (let step = 0; step < count; step++) {
      const block = { firstAddress: pool.firstAddress + ((seed + step) % count) * BLOCK_SIZE, prefix: BLOCK_PREFIX };
      if (!used.some((other) => overlaps(block, other))) yield block;
    }
  }
}

const Routes = z.array(z.looseObject({ dst: z.string() }));
const Interfaces = z.array(
  z.looseObject({
    ifname: z.string(),
    addr_info: z.array(z.looseObject({ family: z.string(), local: z.string(), prefixlen: z.number() })),
  }),
);

async function askIp(args: readonly string[]): Promise<unknown> {
  return JSON.parse((await execOrThrow("ip", ["-j", "-4", ...args], { timeoutMs: 5_000 })) || "[]");
}

/** Blocks that this host routes or owns, in all routing tables. */
async function usedBlocks(): Promise<Block[]> {
  const routes = Routes.parse(await askIp(["route", "show", "table", "all"])).filter(
    (route) => /^\d/.test(route.dst) && route.dst !== "0.0.0.0/0",
  );
  const interfaces = Interfaces.parse(await askIp(["addr"]));
  const owned = interfaces.flatMap((one) => one.addr_info.map((address) => parseBlock(`${address.local}/${address.prefixlen}`)));
  // Tailscale drops what comes from 100.64/10 on any other interface, whatever is routed
  const tailscale = interfaces.some((one) => one.ifname.startsWith("tailscale")) ? [parseBlock("100.64.0.0/10")] : [];
  return [...routes.map((route) => parseBlock(route.dst)), ...owned, ...tailscale];
}

/**
 * Claims a block for a plane: a file that only one can create. A plane that has one gets the same again.
 * `wanted` (an operator's setting) is taken as it is, whoever routes it.
 */
export async function claimBlock(runDir: string, planeId: string, wanted: string | undefined): Promise<Block> {
  if (wanted !== undefined) return parseBlock(wanted);
  const claimsDir = join(runDir, "_blocks");
  await mkdir(claimsDir, { recursive: true });
  const ownFile = join(runDir, planeId, "block");
  const own = await readFile(ownFile, "utf8").catch(() => undefined);
  if (own !== undefined) return parseBlock(own.trim());
  for (const block of freeBlocks(await usedBlocks(), seedOf(planeId))) {
    if (!(await claim(claimsDir, block, planeId))) continue;
    await mkdir(join(runDir, planeId), { recursive: true });
    await writeFile(ownFile, `${formatBlock(block)}\n`);
    return block;
  }
  throw new Error(`Cannot find a free /${BLOCK_PREFIX} in ${POOLS.map(formatBlock).join(" or ")}: set TORPOR_GATEWAY_ADDRESS_BLOCK`);
}

function claimFile(claimsDir: string, block: Block): string {
  return join(claimsDir, formatAddress(block.firstAddress));
}

async function claim(claimsDir: string, block: Block, planeId: string): Promise<boolean> {
  try {
    await writeFile(claimFile(claimsDir, block), planeId, { flag: "wx" });
    return true;
  } catch (error) {
    if (!(error instanceof Error) || !("code" in error) || error.code !== "EEXIST") throw error;
    // our own claim: we died between claiming and remembering
    return (await readFile(claimFile(claimsDir, block), "utf8").catch(() => "")) === planeId;
  }
}

/** Gives a plane's block back. Idempotent. */
export async function releaseBlock(runDir: string, planeId: string): Promise<void> {
  const own = await readFile(join(runDir, planeId, "block"), "utf8").catch(() => undefined);
  if (own === undefined) return;
  await rm(claimFile(join(runDir, "_blocks"), parseBlock(own.trim())), { force: true });
  await rm(join(runDir, planeId, "block"), { force: true });
}

function seedOf(planeId: string): number {
  let seed = 0;
  for (const char of planeId) seed = (seed * 31 + char.charCodeAt(0)) % 65_521;
  return seed;
}
