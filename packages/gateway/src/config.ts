// The gateway's settings. Names that Trigger.dev's operators know are kept; our own begin with TORPOR_GATEWAY.
import { createHash } from "node:crypto";
import { availableParallelism } from "node:os";
import { totalmem } from "node:os";
import { resolve } from "node:path";
import { GIB, Secret } from "@torpor/kernel";
import { z } from "zod";
import type { CpuLimit, ServiceSetting } from "./drivers/gvisor/index.ts";
import { parseNodeKey } from "./snapshots/nodeKey.ts";

/** A start waits for disks and processes half of its time; with more of them at once each takes longer and none ends sooner. */
const STARTS_PER_CPU = 2;
const MIN_STARTS = 4;

/** Half of the spares are clones that wait: together with the kernels they take a fortieth of the memory. */
const BYTES_PER_SPARE = 4 * GIB;
const MAX_SPARES = 8;

/** Every setting, with what it means. The docs' table is printed from this. */
export const GATEWAY_SETTINGS = {
  COMPUTE_GATEWAY_AUTH_TOKEN: "Bearer token that callers must send; callbacks are signed with a key derived from it. Required",
  TORPOR_GATEWAY_HOST: "Address to listen on. Default 127.0.0.1",
  TORPOR_GATEWAY_PORT: "Port to listen on. Default 8090",
  TORPOR_STATE_DIR: "Folder with the node's images and the gateway's own files. Default .torpor",
  TORPOR_IMAGE_STORE: "Folder whose `images/` holds the task images. Default: TORPOR_STATE_DIR",
  TORPOR_GATEWAY_DRIVER: "gvisor, or process: no isolation and no snapshots. Default gvisor",
  TORPOR_GATEWAY_PLANE:
    "1 to 6 characters of [a-z0-9] that tell this plane from others on the machine. Default: from the state folder's path",
  TORPOR_RUNSC: "The runsc binary. Default runsc",
  TORPOR_GATEWAY_RUN_DIR: "Short path for sockets and locks, shared by all planes of the machine. Default /run/torpor",
  TORPOR_GATEWAY_SERVICES: "What sandboxes may reach at 169.254.169.254: `guestPort=host:port`, separated by commas. Default none",
  TORPOR_GATEWAY_EGRESS: "none, or internet: sandboxes may reach public addresses. Default none",
  TORPOR_GATEWAY_ADDRESS_BLOCK: "Addresses of sandboxes, as a.b.c.d/n. Default: a free /22 of 100.64.0.0/10",
  TORPOR_GATEWAY_SANDBOX_DISK_BYTES: "How much a sandbox may write to its file system. Default 4 GiB",
  TORPOR_CPU_LIMIT:
    "weight: under load each sandbox gets the share that its machine names, and what is idle is anybody's. hard: never more than its machine names. Default weight",
  TORPOR_GATEWAY_TEMPLATES: "on: sandboxes of an image are cloned from one that is booted already. off: each boots. Default on",
  TORPOR_GATEWAY_MAX_TEMPLATES: "Templates that are kept, one for each image and machine. Default 32",
  TORPOR_GATEWAY_MAX_TEMPLATE_BYTES: "Disk that templates may take, about 130 MB each. Default 8 GiB",
  TORPOR_GATEWAY_SPARES:
    "Sandboxes that are made ready before anybody asks for one, for the images that were started last, about 160 MB for a clone that waits and 16 MB for a kernel. They go when memory gets scarce. 0: none. Default: one for each 4 GiB of memory, and at most 8",
  TORPOR_GATEWAY_MAX_SANDBOXES: "Sandboxes at once. Default 500",
  TORPOR_GATEWAY_MAX_STARTS: "Sandboxes that start at once. Default: two for each CPU, and 4 at least",
  TORPOR_GATEWAY_MAX_SNAPSHOTS: "Snapshots that are written at once; more are refused. Default 4",
  TORPOR_GATEWAY_HOLD_MS: "How long a frozen sandbox is held when its snapshot names no time. Default 60000",
  TORPOR_GATEWAY_FROZEN_BYTES:
    "Memory that frozen sandboxes of sleeping runs may take while there is memory to spare; they wake sooner. 0: none is kept. Default 0",
  TORPOR_GATEWAY_MIN_FREE_DISK_BYTES: "With less free disk, starts and snapshots are refused. Default 1 GiB",
  TORPOR_GATEWAY_MIN_FREE_MEMORY_BYTES: "With less free memory, starts are refused. Default 256 MiB",
  TORPOR_MEMORY_KEY:
    "32 bytes as 64 hex digits or base64: wraps the keys of memory images. Default: made once, and kept in the state folder beside them",
  TORPOR_GATEWAY_MEMORY_QUOTA_BYTES:
    "How much disk memory images may take together; further snapshots are refused. Default: half of what the disk of the state folder holds",
  TORPOR_GATEWAY_STAGING_BYTES:
    "How much memory may hold the memory of sandboxes that are being written or restored, in clear and off the disk. Default: a quarter of the machine's",
  TORPOR_GATEWAY_ON_EXIT:
    "keep: sandboxes go on and the next start takes them over. destroy: they end, and everything of the plane is removed. Default keep",
  TORPOR_LOG_LEVEL: "trace, debug, info, warn, error or silent. Default info",
} as const;

const whole = z.coerce.number().int();

const Env = z.object({
  COMPUTE_GATEWAY_AUTH_TOKEN: z
    .string({ error: "must be set: callers of the gateway can run code on this machine" })
    .min(16, "must have at least 16 characters"),
  TORPOR_GATEWAY_HOST: z.string().default("127.0.0.1"),
  TORPOR_GATEWAY_PORT: whole.min(0).max(65_535).default(8090),
  TORPOR_STATE_DIR: z.string().default(".torpor"),
  TORPOR_IMAGE_STORE: z.string().optional(),
  TORPOR_GATEWAY_DRIVER: z.enum(["gvisor", "process"]).default("gvisor"),
  TORPOR_GATEWAY_PLANE: z
    .string()
    .regex(/^[a-z0-9]{1,6}$/, "must be 1 to 6 characters of [a-z0-9]")
    .optional(),
  TORPOR_RUNSC: z.string().default("runsc"),
  TORPOR_GATEWAY_RUN_DIR: z.string().max(40, "must be short: paths of sockets are limited").default("/run/torpor"),
  TORPOR_GATEWAY_SERVICES: z.string().default("").transform(parseServices),
  TORPOR_GATEWAY_EGRESS: z.enum(["none", "internet"]).default("none"),
  TORPOR_GATEWAY_ADDRESS_BLOCK: z
    .string()
    .regex(/^\d+\.\d+\.\d+\.\d+\/\d+$/, "must look like 100.64.8.0/22")
    .optional(),
  TORPOR_GATEWAY_SANDBOX_DISK_BYTES: whole.min(1024 * 1024).default(4 * GIB),
  TORPOR_CPU_LIMIT: z.enum(["weight", "hard"]).default("weight"),
  TORPOR_GATEWAY_TEMPLATES: z.enum(["on", "off"]).default("on"),
  TORPOR_GATEWAY_MAX_TEMPLATES: whole.min(1).max(10_000).default(32),
  TORPOR_GATEWAY_MAX_TEMPLATE_BYTES: whole.min(0).default(8 * GIB),
  TORPOR_GATEWAY_SPARES: whole.min(0).max(100).optional(),
  TORPOR_GATEWAY_MAX_SANDBOXES: whole.min(1).max(100_000).default(500),
  TORPOR_GATEWAY_MAX_STARTS: whole.min(1).max(1_000).optional(),
  TORPOR_GATEWAY_MAX_SNAPSHOTS: whole.min(1).max(1_000).default(4),
  TORPOR_GATEWAY_HOLD_MS: whole.min(1_000).max(300_000).default(60_000),
  TORPOR_GATEWAY_FROZEN_BYTES: whole.min(0).default(0),
  TORPOR_GATEWAY_MIN_FREE_DISK_BYTES: whole.min(0).default(GIB),
  TORPOR_GATEWAY_MIN_FREE_MEMORY_BYTES: whole.min(0).default(GIB / 4),
  TORPOR_MEMORY_KEY: z.string().transform(parseMemoryKey).optional(),
  TORPOR_GATEWAY_MEMORY_QUOTA_BYTES: whole.min(1024 * 1024).optional(),
  TORPOR_GATEWAY_STAGING_BYTES: whole.min(64 * 1024 * 1024).optional(),
  TORPOR_GATEWAY_ON_EXIT: z.enum(["keep", "destroy"]).default("keep"),
  TORPOR_LOG_LEVEL: z.enum(["trace", "debug", "info", "warn", "error", "silent"]).default("info"),
} satisfies Record<keyof typeof GATEWAY_SETTINGS, z.ZodType>);

/** `8020=127.0.0.1:8020,3030=10.0.0.5:3030`. */
function parseServices(text: string, context: z.RefinementCtx): ServiceSetting[] {
  const services: ServiceSetting[] = [];
  for (const item of text
    .split(",")
    .map((one) => one.trim())
    .filter((one) => one !== "")) {
    const [, guestPort, host, port] = /^(\d+)=([\w.-]+):(\d+)$/.exec(item) ?? [];
    if (guestPort === undefined || host === undefined || port === undefined)
      context.addIssue(`must be guestPort=host:port, and ${item} is not`);
    else if (guestPort === "80" || guestPort === "53")
      context.addIssue(`port ${guestPort} is taken: 80 is the metadata server, 53 are names`);
    else services.push({ guestPort: Number(guestPort), host, port: Number(port) });
  }
  return services;
}

function parseMemoryKey(text: string, context: z.RefinementCtx): Secret {
  const secret = parseNodeKey(text);
  if (secret !== undefined) return secret;
  context.addIssue("must be 32 bytes, as 64 hex digits or base64");
  return z.NEVER;
}

/** One sandbox of the smallest machine that is of use fits. */
const MIN_STAGING_BYTES = GIB / 2;

export interface GatewayConfig {
  readonly token: Secret;
  readonly listen: { readonly host: string; readonly port: number };
  readonly stateDir: string;
  readonly imageStoreDir: string;
  readonly driver: "gvisor" | "process";
  readonly planeId: string;
  readonly runscBinary: string;
  readonly runDir: string;
  readonly services: readonly ServiceSetting[];
  readonly egress: "none" | "internet";
  readonly addressBlock: string | undefined;
  readonly sandboxDiskBytes: number;
  readonly cpuLimit: CpuLimit;
  readonly templates: { readonly enabled: boolean; readonly maxCount: number; readonly maxBytes: number };
  /** 0: no sandbox is made ready ahead. */
  readonly maxSpares: number;
  readonly maxSandboxes: number;
  readonly maxStarts: number;
  readonly maxSnapshots: number;
  readonly holdMs: number;
  /** 0: no frozen sandbox is kept. */
  readonly frozenBytes: number;
  readonly minFreeDiskBytes: number;
  readonly minFreeMemoryBytes: number;
  /** Undefined: it is kept in the state folder. */
  readonly memoryKey: Secret | undefined;
  /** Undefined: half of the disk that the state folder is on. */
  readonly memoryQuotaBytes: number | undefined;
  readonly stagingBytes: number;
  readonly onExit: "keep" | "destroy";
  readonly logLevel: z.infer<typeof Env>["TORPOR_LOG_LEVEL"];
}

/** Reads the settings; throws with the name of the variable, what is wrong with it, and what it was. */
export function readGatewayConfig(env: Readonly<Record<string, string | undefined>>): GatewayConfig {
  const parsed = Env.safeParse(Object.fromEntries(Object.entries(env).filter(([, value]) => value !== "")));
  if (!parsed.success)
    throw new Error(
      `Cannot start the gateway:\n${parsed.error.issues.map((issue) => `  ${issue.path.join(".")}: ${issue.message}`).join("\n")}`,
    );
  const e = parsed.data;
  const stateDir = resolve(e.TORPOR_STATE_DIR);
  return {
    token: new Secret(e.COMPUTE_GATEWAY_AUTH_TOKEN),
    listen: { host: e.TORPOR_GATEWAY_HOST, port: e.TORPOR_GATEWAY_PORT },
    stateDir,
    imageStoreDir: resolve(e.TORPOR_IMAGE_STORE ?? e.TORPOR_STATE_DIR),
    driver: e.TORPOR_GATEWAY_DRIVER,
    planeId: e.TORPOR_GATEWAY_PLANE ?? planeIdOf(stateDir),
    runscBinary: e.TORPOR_RUNSC,
    runDir: e.TORPOR_GATEWAY_RUN_DIR,
    services: e.TORPOR_GATEWAY_SERVICES,
    egress: e.TORPOR_GATEWAY_EGRESS,
    addressBlock: e.TORPOR_GATEWAY_ADDRESS_BLOCK,
    sandboxDiskBytes: e.TORPOR_GATEWAY_SANDBOX_DISK_BYTES,
    cpuLimit: e.TORPOR_CPU_LIMIT,
    templates: {
      enabled: e.TORPOR_GATEWAY_TEMPLATES === "on",
      maxCount: e.TORPOR_GATEWAY_MAX_TEMPLATES,
      maxBytes: e.TORPOR_GATEWAY_MAX_TEMPLATE_BYTES,
    },
    maxSpares: e.TORPOR_GATEWAY_SPARES ?? Math.min(MAX_SPARES, Math.round(totalmem() / BYTES_PER_SPARE)),
    maxSandboxes: e.TORPOR_GATEWAY_MAX_SANDBOXES,
    maxStarts: e.TORPOR_GATEWAY_MAX_STARTS ?? Math.max(MIN_STARTS, availableParallelism() * STARTS_PER_CPU),
    maxSnapshots: e.TORPOR_GATEWAY_MAX_SNAPSHOTS,
    holdMs: e.TORPOR_GATEWAY_HOLD_MS,
    frozenBytes: e.TORPOR_GATEWAY_FROZEN_BYTES,
    minFreeDiskBytes: e.TORPOR_GATEWAY_MIN_FREE_DISK_BYTES,
    minFreeMemoryBytes: e.TORPOR_GATEWAY_MIN_FREE_MEMORY_BYTES,
    memoryKey: e.TORPOR_MEMORY_KEY,
    memoryQuotaBytes: e.TORPOR_GATEWAY_MEMORY_QUOTA_BYTES,
    stagingBytes: e.TORPOR_GATEWAY_STAGING_BYTES ?? Math.max(MIN_STAGING_BYTES, Math.floor(totalmem() / 4)),
    onExit: e.TORPOR_GATEWAY_ON_EXIT,
    logLevel: e.TORPOR_LOG_LEVEL,
  };
}

/** Two planes with different state folders have different names; one plane keeps its name over restarts. */
export function planeIdOf(stateDir: string): string {
  return createHash("sha256").update(resolve(stateDir)).digest("hex").slice(0, 6);
}
