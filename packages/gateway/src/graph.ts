// The gateway without its port: its graph, built from its machine (driver, images) and from the way callbacks are sent.
import { join } from "node:path";
import type { Mounted } from "@torpor/http";
import type { GatewayConfig } from "./config.ts";
import type { Core } from "./core.ts";
import type { SandboxExit } from "./drivers/driver.ts";
import { hasMemoryToSpare, measureRoom, whyDiskFull, whyFull } from "./room.ts";
import { gatewayRoutes } from "./routes/routes.ts";
import { concludeExit } from "./sandboxes/ending.ts";
import { EventLog } from "./sandboxes/events.ts";
import { Launcher } from "./sandboxes/launcher.ts";
import { Starts } from "./sandboxes/starts.ts";
import { RecordStore } from "./sandboxes/record.ts";
import { SandboxTable } from "./sandboxes/sandboxTable.ts";
import { Outbox, type Post } from "./snapshots/callback.ts";
import { FrozenTier } from "./snapshots/frozenTier.ts";
import { Keyring } from "./snapshots/keyring.ts";
import { MemoryImages } from "./snapshots/memoryImages.ts";
import { PageBases, type BaseFor } from "./snapshots/pageBases.ts";
import { Snapshotter } from "./snapshots/snapshotter.ts";
import { StagingArea } from "./snapshots/stagingArea.ts";
import { Spares } from "./templates/spares.ts";
import { templateBase } from "./templates/templateBase.ts";
import { TemplateFiles } from "./templates/templateFiles.ts";
import { TemplateRequests } from "./templates/templateRequests.ts";
import { Templates } from "./templates/templates.ts";

export interface GraphDeps extends Pick<Core, "clock" | "random" | "log" | "metrics" | "driver" | "images"> {
  readonly post: Post;
}

export interface Graph {
  readonly core: Core;
  readonly outbox: Outbox;
  readonly snapshotter: Snapshotter;
  readonly starts: Starts;
  readonly templates: Templates;
  readonly spares: Spares;
  readonly routes: Mounted[];
}

/** Folder of the gateway's own files. */
export function gatewayDir(stateDir: string): string {
  return join(stateDir, "gateway");
}

/** Folder of the keys of memory images. */
export function keysDir(stateDir: string): string {
  return join(gatewayDir(stateDir), "keys");
}

/** The node's key, unless the environment brings one. */
export function nodeKeyFile(stateDir: string): string {
  return join(gatewayDir(stateDir), "memory.key");
}

/** Where memory is in clear. Below /run even what should be mounted and is not stays off the disk. */
export function stagingDir({ runDir, planeId }: Pick<GatewayConfig, "runDir" | "planeId">): string {
  return join(runDir, planeId, "staging");
}

/** Builds the graph. Nothing is read or written yet; `recover` comes next, then the routes may be served. */
export function createGraph(config: GatewayConfig, deps: GraphDeps): Graph {
  const { clock, random, log, metrics, driver, post } = deps;
  const templatesDir = join(gatewayDir(config.stateDir), "templates");
  const templateFiles = new TemplateFiles(templatesDir);
  const manifests = () => templateFiles.list().map(({ manifest }) => manifest);
  const core = buildCore(config, deps, (kind) => templateBase(manifests(), templatesDir, kind));
  const dir = join(gatewayDir(config.stateDir), "outbox");
  const outbox = new Outbox({ dir, token: config.token, post, clock, random, log, metrics });
  const snapshotter = new Snapshotter(core, outbox, { maxWriting: config.maxSnapshots, defaultHoldMs: config.holdMs });
  const templates = new Templates(core, templateFiles, config.templates);
  const templateRequests = new TemplateRequests({ core, templates, post, token: config.token });
  const spares: Spares = new Spares(core, templates, {
    max: config.maxSpares,
    isPlentiful: async () => hasMemoryToSpare(await measureRoom(gatewayDir(config.stateDir))),
    isBusy: () => starts.isStarting || core.staging.reservedBytes > 0,
  });
  templates.onMade((image, machine) => spares.templateMade(image, machine));
  const starts = new Starts(core, { maxStarts: config.maxStarts, maxWaitingStarts: 64, giveWay: () => spares.giveWay() });
  const launcher = new Launcher(core, { starts, templates, spares });
  driver.onExit((exit) => {
    spares.ended(exit.id);
    onExit(core, snapshotter, exit);
  });
  const routes = gatewayRoutes({ core, launcher, snapshotter, spares, templates: templateRequests, stateDir: config.stateDir });
  return { core, outbox, snapshotter, starts, templates, spares, routes };
}

/** The rest is for the database, task images, and what tasks write. */
const DEFAULT_DISK_SHARE = 0.5;

function buildCore(config: GatewayConfig, given: Omit<GraphDeps, "post">, baseFor: BaseFor): Core {
  const dir = gatewayDir(config.stateDir);
  const table = new SandboxTable(new RecordStore(join(dir, "records")), given);
  const limits = {
    dir,
    maxSandboxes: config.maxSandboxes,
    minFreeDiskBytes: config.minFreeDiskBytes,
    minFreeMemoryBytes: config.minFreeMemoryBytes,
  };
  const memory = new MemoryImages(
    join(dir, "memory"),
    new Keyring({ dir: keysDir(config.stateDir), nodeKey: config.memoryKey, nodeKeyFile: nodeKeyFile(config.stateDir) }),
    new PageBases(join(dir, "bases"), baseFor),
  );
  return {
    ...given,
    table,
    memory,
    frozen: new FrozenTier(
      { ...given, table, memory },
      { maxBytes: config.frozenBytes, isPlentiful: async () => hasMemoryToSpare(await measureRoom(dir)) },
    ),
    staging: new StagingArea({
      dir: given.driver.name === "gvisor" ? stagingDir(config) : join(dir, "staging"),
      limitBytes: config.stagingBytes,
      inMemory: given.driver.name === "gvisor",
      log: given.log,
    }),
    quotaBytes: async () => config.memoryQuotaBytes ?? Math.floor((await measureRoom(dir)).diskTotalBytes * DEFAULT_DISK_SHARE),
    events: new EventLog(given.clock),
    room: async () => whyFull(await measureRoom(dir), table.all().length, limits),
    diskRoom: async () => whyDiskFull(await measureRoom(dir), limits),
  };
}

/** What an exit means depends on where in its life the sandbox was. */
function onExit(core: Core, snapshotter: Snapshotter, exit: SandboxExit): void {
  const sandbox = core.table.findById(exit.id);
  if (sandbox === undefined || sandbox.record.state === "gone") return;
  sandbox.exit ??= {
    exitCode: exit.exitCode,
    reason: exit.outOfMemory ? "out_of_memory" : sandbox.record.state === "running" ? "exited" : `ended_while_${sandbox.record.state}`,
  };
  if (sandbox.record.state === "freezing") snapshotter.onExit(sandbox);
  const imageId = sandbox.record.snapshot?.memoryImageId;
  if (sandbox.record.state === "kept" && imageId !== undefined) void core.frozen.drop(imageId, "ended");
  if (sandbox.record.state !== "running") return; // `starting`: the start sees it. `held`: nothing is lost until it is thawed
  void sandbox.serial
    .run(() => concludeExit(core, sandbox))
    .catch((error: unknown) => core.log.error({ err: error, sandbox: exit.id }, "cannot conclude an exit"));
}
