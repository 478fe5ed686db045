import { createEngine, type Engine } from "@torpor/engine";
import { startServer, type Mounted, type RunningServer } from "@torpor/http";
import { Scope, type Clock, type Closable, type Random } from "@torpor/kernel";
import type { Log, Metrics } from "@torpor/observe";
import { authenticators, type PlatformCallers } from "./auth/callers.ts";
import { Identities } from "./auth/identities.ts";
import { OneTimeTokens } from "./auth/oneTimeTokens.ts";
import { TokenHeaders } from "./auth/tokenHeaders.ts";
import type { Config } from "./config.ts";
import { allowBrowsers } from "./crossOrigin.ts";
import { PlatformDatabase } from "./database.ts";
import { Drain } from "./drain.ts";
import { Housekeeping } from "./housekeeping.ts";
import { serveMetrics } from "./metricsServer.ts";
import { Origins } from "./origins.ts";
import { Packets } from "./packets/packets.ts";
import { adminRoutes, healthRoutes } from "./routes/admin.ts";
import { authRoutes } from "./routes/auth.ts";
import { batchRoutes } from "./routes/batches.ts";
import { deploymentRoutes } from "./routes/deployments.ts";
import { envVarRoutes } from "./routes/envVars.ts";
import { queueRoutes } from "./routes/queues.ts";
import { runRoutes } from "./routes/runs.ts";
import { triggerRoutes } from "./routes/trigger.ts";
import { triggerCliRoutes } from "./routes/triggerCli.ts";
import { waitRoutes } from "./routes/waits.ts";
import { TelemetryIntake } from "./telemetry/intake.ts";
import { telemetryRoutes } from "./telemetry/routes.ts";
import { TelemetryStore } from "./telemetry/store.ts";
import { workerRoutes } from "./worker/routes.ts";
import { serveWorkerSocket } from "./worker/socket.ts";
import { TaskEnvironment } from "./worker/taskEnvironment.ts";

export interface PlatformDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly metrics: Metrics;
}

export interface Platform extends Closable {
  /** Where the API listens. */
  readonly url: string;
  /** Answers what is being answered, then stops. Repeatable. */
  close(): Promise<void>;
}

/** Connections for telemetry, stored payloads and one-time tokens. */
const OWN_POOL_SIZE = 3;

/**
 * Starts the API around the engine. Resolves when it listens and the database is at its newest version. Several may share one
 * database: nothing is kept in memory that another needs.
 */
export async function startPlatform(config: Config, deps: PlatformDeps): Promise<Platform> {
  const scope = new Scope();
  try {
    const server = await start(config, deps, scope);
    deps.log.info({ url: server.url }, "the platform is up");
    return { url: server.url, close: () => scope.close() };
  } catch (error) {
    await scope.close();
    throw error;
  }
}

async function start(config: Config, deps: PlatformDeps, scope: Scope): Promise<RunningServer> {
  const { clock, random, log, metrics } = deps;
  const engine = scope.use(
    createEngine({
      connectionString: config.database.url.reveal(),
      settings: { ...config.engine, poolSize: config.database.poolSize, encryptionKey: config.encryptionKey },
      clock,
      random,
      log,
    }),
  );
  await engine.start();
  const database = scope.use(new PlatformDatabase({ url: config.database.url, poolSize: OWN_POOL_SIZE, log }));
  await database.migrate();
  if (config.workerGroup !== null)
    await engine.ensureWorkerGroup({ name: config.workerGroup.name, token: config.workerGroup.token.reveal() });
  const parts = buildParts(config, deps, { engine, database });
  scope.use(parts.intake);
  scope.use(parts.housekeeping);
  parts.housekeeping.start();
  const drain = new Drain(clock, log);
  const server = scope.use(await serve(config, deps, { ...parts, engine, drain }));
  scope.use(drain.closer(server));
  const auth = { identities: parts.identities, managedSecret: config.managedSecret };
  scope.use(serveWorkerSocket({ server: server.node, engine, auth, maxSubscriptions: config.limits.maxSubscriptions, log, metrics }));
  if (config.metrics !== null) scope.use(await serveMetrics(config.metrics, metrics));
  return server;
}

type Parts = ReturnType<typeof buildParts>;

function buildParts(config: Config, deps: PlatformDeps, { engine, database }: { engine: Engine; database: PlatformDatabase }) {
  const { clock, log, metrics } = deps;
  const identities = new Identities(engine, clock);
  const store = new TelemetryStore(database, config.telemetry);
  const oneTimeTokens = new OneTimeTokens(database);
  const asker = { workerGroupId: "", instanceName: "telemetry" };
  const runExists = async (runId: string, environmentId: string | undefined): Promise<boolean> =>
    (await engine.latestSnapshot(asker, runId, environmentId === undefined ? {} : { environmentId })) !== null;
  return {
    database,
    identities,
    store,
    oneTimeTokens,
    tokenHeaders: new TokenHeaders(identities),
    intake: new TelemetryIntake({ store, runExists, clock, log, metrics }),
    housekeeping: new Housekeeping({ clock, log, store, oneTimeTokens, retentionMs: config.telemetry.retentionMs }),
  };
}

async function serve(config: Config, deps: PlatformDeps, parts: Parts & { engine: Engine; drain: Drain }): Promise<RunningServer> {
  const { clock, log, metrics } = deps;
  const { listen, limits } = config;
  const origins = new Origins(config.origins);
  const packets = new Packets({
    database: parts.database,
    clock,
    encryptionKey: config.encryptionKey,
    origins,
    maxPacketBytes: limits.maxPacketBytes,
  });
  const routes = allRoutes(config, deps, { ...parts, packets, origins });
  const server = await startServer<PlatformCallers>({
    routes,
    authenticators: authenticators({
      identities: parts.identities,
      managedSecret: config.managedSecret,
      adminToken: config.adminToken,
      clock,
    }),
    listen,
    log,
    onAnswered: ({ method, path, status, durationMs }) =>
      metrics.observeMs("torpor_platform_request_seconds", durationMs, { method, path, status: String(status) }),
    maxConnections: limits.maxConnections,
    requestTimeoutMs: limits.requestTimeoutMs,
    extend: (app) => {
      parts.drain.watch(app);
      packets.serve(app);
      allowBrowsers(app, routes);
    },
  });
  origins.listensAt(server.url);
  return server;
}

interface RouteParts extends Parts {
  readonly engine: Engine;
  readonly drain: Drain;
  readonly packets: Packets;
  readonly origins: Origins;
}

function allRoutes(config: Config, { clock, random, log }: PlatformDeps, parts: RouteParts): Mounted[] {
  const { engine, identities, oneTimeTokens, tokenHeaders, packets, intake, store, origins, drain } = parts;
  const { limits } = config;
  const taskEnvironment = new TaskEnvironment({ identities, origins });
  return [
    ...triggerRoutes({ engine, clock, random, limits, oneTimeTokens, tokenHeaders }),
    ...runRoutes({ engine, clock, random, limits, packets }),
    ...waitRoutes({ engine, clock, identities, tokenHeaders, origins, maxPayloadBytes: limits.maxPayloadBytes }),
    ...batchRoutes({ engine, clock, random, limits, oneTimeTokens, tokenHeaders }),
    ...queueRoutes({ engine }),
    ...envVarRoutes({ engine }),
    ...authRoutes({ identities }),
    ...packets.routes(),
    ...deploymentRoutes({ engine }),
    ...triggerCliRoutes({ engine, identities, origins }),
    ...telemetryRoutes({ engine, identities, intake, store, clock }),
    ...workerRoutes({ engine, taskEnvironment, dequeueWaitMs: config.dequeueWaitMs, draining: drain.signal, log }),
    ...adminRoutes({ engine, random }),
    ...healthRoutes({ engine }),
  ];
}
