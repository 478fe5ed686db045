import { join } from "node:path";
import { Scope, systemClock, systemRandom, type Closable } from "@torpor/kernel";
import { CommandFailure, EXIT } from "../exitCodes.ts";
import { EmbeddedDatabase } from "./database.ts";
import { ensureDataDir } from "./dataDir.ts";
import { PartProcess } from "./partProcess.ts";
import { gatewayEnv, planeIdOf, platformEnv, supervisorEnv, warmStartEnv, type PlaneConfig, type PlanePorts } from "./planeConfig.ts";
import { readPlaneFile, writePlaneFile, type PlaneFile } from "./planeFile.ts";
import { claimPort, freePorts, isPortFree } from "./ports.ts";
import { ensureSecrets } from "./secrets.ts";

export type PartName = "platform" | "node" | "supervisor" | "gateway" | "warmstart";

export interface PlaneOptions {
  readonly dataDir: string;
  readonly repoDir: string;
  readonly stateDir: string;
  readonly driver: "gvisor" | "process";
  /** Passed to every part: the machine's, and settings of the parts that the user wants otherwise. */
  readonly env: Readonly<Record<string, string>>;
  /** A PostgreSQL elsewhere; otherwise the embedded one is started. */
  readonly databaseUrl?: string;
  /** Wanted port of the API; when it is taken and was not asked for by the user, a free one is used. */
  readonly apiPort?: { readonly port: number; readonly mustBeThis: boolean };
  /** Each part of the node as a process of its own, as on a cluster; otherwise one process holds the three. */
  readonly splitNode?: boolean;
  readonly onProgress: (text: string) => void;
  readonly onUnexpectedExit: (part: string, how: string) => void;
}

export interface Plane extends Closable {
  readonly file: PlaneFile;
  readonly dataDir: string;
  readonly part: (name: PartName | "postgresql") => { readonly pid: number | undefined; kill(signal: NodeJS.Signals): void };
}

const DEFAULT_API_PORT = 3030;
/** In MiB. V8's default of 16 lets each idle part keep some 40 MB that it does not need; with 4 the engine bench is as fast. */
const SMALL_YOUNG_GENERATION = "--max-semi-space-size=4";

/** Starts PostgreSQL, a platform and a node as child processes. Resolves when all answer; `close` drains and stops them in reverse. */
export async function startPlane(options: PlaneOptions): Promise<Plane> {
  const scope = new Scope();
  try {
    return await startParts(options, scope);
  } catch (error) {
    await scope.close();
    throw error;
  }
}

async function startParts(options: PlaneOptions, scope: Scope): Promise<Plane> {
  ensureDataDir(options.dataDir);
  const secrets = ensureSecrets(options.dataDir, systemRandom);
  const ports = await choosePorts(options, scope);
  const database = options.databaseUrl === undefined ? embeddedDatabase(options, ports, secrets.databasePassword) : undefined;
  if (database !== undefined) {
    options.onProgress("starting PostgreSQL");
    scope.use(database);
  }
  const databaseUrl = options.databaseUrl ?? (await database?.start()) ?? "";
  const config: PlaneConfig = {
    planeId: planeIdOf(options.dataDir),
    dataDir: options.dataDir,
    stateDir: options.stateDir,
    driver: options.driver,
    ports,
    secrets,
    databaseUrl,
    env: options.env,
  };
  const parts = new Map<string, PartProcess>();
  for (const part of partsOf(options, config)) {
    options.onProgress(`starting the ${part.name}`);
    scope.defer(() => part.stop());
    await part.start();
    parts.set(part.name, part);
  }
  const file = planeFileOf(config);
  writePlaneFile(options.dataDir, file);
  return { file, dataDir: options.dataDir, part: (name) => handleOf(name, parts, database), close: () => scope.close() };
}

function embeddedDatabase(
  options: PlaneOptions,
  ports: PlanePorts,
  password: PlaneConfig["secrets"]["databasePassword"],
): EmbeddedDatabase {
  const { dataDir, onUnexpectedExit } = options;
  return new EmbeddedDatabase({
    dataDir,
    port: ports.database,
    password,
    clock: systemClock,
    random: () => systemRandom.unit(),
    onUnexpectedExit,
  });
}

/** A plane that starts again keeps its ports where they are free, so that addresses which users noted stay true. */
async function choosePorts(options: PlaneOptions, scope: Scope): Promise<PlanePorts> {
  const before = readPlaneFile(options.dataDir)?.ports ?? {};
  const [api = 0, workload = 0, gateway = 0, warmStart = 0, database = 0] = await freePorts(5);
  const keep = async (name: keyof PlanePorts, fresh: number): Promise<number> => {
    const old = before[name];
    return old !== undefined && (await isPortFree(old)) ? old : fresh;
  };
  const wanted = options.apiPort ?? { port: before["api"] ?? DEFAULT_API_PORT, mustBeThis: false };
  const claim = await claimPort(wanted.port);
  if (claim !== undefined) scope.use(claim);
  else if (wanted.mustBeThis)
    throw new CommandFailure(EXIT.refused, `Cannot listen on port ${wanted.port}: something else does`, "choose another --port");
  return {
    api: claim === undefined ? api : wanted.port,
    workload: await keep("workload", workload),
    gateway: await keep("gateway", gateway),
    warmStart: await keep("warmStart", warmStart),
    database: await keep("database", database),
  };
}

function partsOf(options: PlaneOptions, config: PlaneConfig): PartProcess[] {
  const platform = { name: "platform", env: platformEnv(config), port: config.ports.api, ready: "/readyz" };
  const gateway = { name: "gateway", env: gatewayEnv(config), port: config.ports.gateway, ready: "/healthz" };
  const warmstart = { name: "warmstart", env: warmStartEnv(config), port: config.ports.warmStart, ready: "/health" };
  const supervisor = { name: "supervisor", env: supervisorEnv(config), port: config.ports.workload, ready: "/health" };
  const node = {
    name: "node",
    env: { ...gateway.env, ...warmstart.env, ...supervisor.env },
    port: config.ports.workload,
    ready: "/health",
  };
  const parts = options.splitNode === true ? [platform, gateway, warmstart, supervisor] : [platform, node];
  return parts.map((part) => partProcess(options, part));
}

function partProcess(
  options: PlaneOptions,
  part: { readonly name: string; readonly env: Record<string, string>; readonly port: number; readonly ready: string },
): PartProcess {
  const { repoDir, dataDir, onUnexpectedExit } = options;
  const command = {
    name: part.name,
    program: process.execPath,
    args: [SMALL_YOUNG_GENERATION, join(repoDir, "packages/cli/src/main.ts"), part.name],
    env: { NODE_ENV: "production", NODE_COMPILE_CACHE: join(options.stateDir, "compile-cache"), ...options.env, ...part.env },
    cwd: dataDir,
    logFile: join(dataDir, "logs", `${part.name}.log`),
    isReady: async () => (await fetch(`http://127.0.0.1:${part.port}${part.ready}`, { signal: AbortSignal.timeout(2_000) })).ok,
  };
  return new PartProcess(command, { clock: systemClock, random: () => systemRandom.unit(), onUnexpectedExit });
}

function planeFileOf({ planeId, driver, ports, secrets }: PlaneConfig): PlaneFile {
  return {
    planeId,
    driver,
    pid: process.pid,
    apiUrl: `http://127.0.0.1:${ports.api}`,
    gatewayUrl: `http://127.0.0.1:${ports.gateway}`,
    workloadUrl: `http://127.0.0.1:${ports.workload}`,
    warmStartUrl: `http://127.0.0.1:${ports.warmStart}`,
    adminToken: secrets.adminToken.reveal(),
    gatewayToken: secrets.gatewayToken.reveal(),
    ports: { ...ports },
  };
}

function handleOf(
  name: string,
  parts: ReadonlyMap<string, PartProcess>,
  database: EmbeddedDatabase | undefined,
): { readonly pid: number | undefined; kill(signal: NodeJS.Signals): void } {
  if (name === "postgresql") {
    const pid = database?.pid;
    return { pid, kill: (signal) => void (pid !== undefined && process.kill(pid, signal)) };
  }
  const part = parts.get(name);
  if (part === undefined) throw new Error(`Cannot find part ${name}: this plane has ${[...parts.keys()].join(", ")}`);
  return part;
}
