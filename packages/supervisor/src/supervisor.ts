import { RouteClient, startServer, type RunningServer } from "@torpor/http";
import { Scope, type Closable, type Clock, type Random } from "@torpor/kernel";
import type { Log, Metrics } from "@torpor/observe";
import type { SupervisorConfig } from "./config.ts";
import { createCore, type Core } from "./core.ts";
import { begin, drain } from "./life.ts";
import { gatewayClient } from "./gateway/gateway.ts";
import { platformClient, workerHeaders } from "./platform/platform.ts";
import { PlatformSocket } from "./platform/platformSocket.ts";
import { CALLBACK_PATH, type WorkloadCallers } from "./workload/routes.ts";

export interface SupervisorDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly metrics: Metrics;
}

export interface RunningSupervisor extends Closable {
  /** Where the workload API listens. */
  readonly workloadUrl: string;
  readonly metricsUrl: string | null;
  /** Resolves when runs are being taken; rejects when the platform does not know this node. */
  readonly ready: Promise<void>;
  /** Drains: no new run, pending sleeps cancelled, frozen sandboxes decided; running sandboxes stay for the next start. Bounded by TORPOR_DRAIN_MS. */
  close(): Promise<void>;
}

const MAX_CONNECTIONS = 10_000;

/** Starts a supervisor. Resolves when it listens; it takes runs as soon as platform and gateway answer. */
export async function startSupervisor(config: SupervisorConfig, deps: SupervisorDeps): Promise<RunningSupervisor> {
  const scope = new Scope();
  const stop = new AbortController();
  const listening: { server: RunningServer | null } = { server: null };
  const port = (): number => listening.server?.port ?? config.workload.listen.port;
  const subscriptions = new PlatformSocket({
    ...deps,
    url: config.platform.url,
    headers: () => workerHeaders(config),
    random: () => deps.random.unit(),
    onNotify: (runId) => void core.onNotify(runId),
    onPromoted: (environmentId) => core.warm.door?.promoted(environmentId),
  });
  const core: Core = createCore(config, {
    ...deps,
    platform: scope.use(platformClient(config)),
    gateway: scope.use(gatewayClient(config)),
    broker:
      config.warmStart.kind === "off" ? null : scope.use(new RouteClient({ baseUrl: config.warmStart.dispatchUrl, timeoutMs: 5_000 })),
    subscriptions,
    address: () => ({
      protocol: config.workload.protocol,
      domain: config.workload.domain,
      port: config.workload.externalPort === 0 ? port() : config.workload.externalPort,
    }),
    callbackUrl: () => callbackUrl(config, port()),
    stop: stop.signal,
  });
  try {
    scope.use(subscriptions);
    listening.server = scope.use(await serveWorkload(config, core, deps.log));
    scope.use(core.sockets);
    const metricsServer = config.metrics.kind === "off" ? null : scope.use(await serveMetrics(config.metrics, deps));
    deps.log.info({ workloadUrl: listening.server.url, metricsUrl: metricsServer?.url ?? null }, "the supervisor listens");
    subscriptions.start();
    const ready = begin(config, core, { deps, stop: stop.signal });
    ready.catch((error: unknown) => deps.log.error({ err: error }, "the supervisor cannot take runs"));
    return {
      workloadUrl: listening.server.url,
      metricsUrl: metricsServer?.url ?? null,
      ready,
      close: () => shutDown(config, core, { deps, scope, stop }),
    };
  } catch (error) {
    stop.abort();
    await scope.close();
    throw error;
  }
}

function serveWorkload(config: SupervisorConfig, core: Core, log: Log): Promise<RunningServer> {
  return startServer<WorkloadCallers>({
    routes: core.routes,
    authenticators: core.authenticators,
    listen: config.workload.listen,
    log,
    closeConnections: true, // a pooled socket in a frozen sandbox costs seconds after its thaw
    maxConnections: MAX_CONNECTIONS,
    extend: (app) => {
      app.addHook("onRequest", async (request, reply) => {
        const done = core.trackRequest(request.headers, request.ip);
        reply.raw.once("close", done);
      });
      app.get("/health", async () => "OK");
      app.get("/ready", async (_request, reply) =>
        core.state.ready && !core.state.draining ? "OK" : reply.code(503).send("not taking runs"),
      );
      app.addHook("onReady", async () => core.sockets.attach(app.server, core.socketHandlers));
    },
  });
}

function serveMetrics(listen: { readonly host: string; readonly port: number }, deps: SupervisorDeps): Promise<RunningServer> {
  return startServer({
    routes: [],
    authenticators: {},
    listen,
    log: deps.log,
    extend: (app) =>
      void app.get("/metrics", async (_request, reply) => reply.type("text/plain; version=0.0.4").send(await deps.metrics.render())),
  });
}

async function shutDown(
  config: SupervisorConfig,
  core: Core,
  { deps, scope, stop }: { readonly deps: SupervisorDeps; readonly scope: Scope; readonly stop: AbortController },
): Promise<void> {
  await drain(config, core, { deps, stop });
  await scope.close();
}

/** A gateway on this machine calls back over loopback; one elsewhere as runners would. */
function callbackUrl(config: SupervisorConfig, port: number): string {
  if (config.snapshots.kind === "on" && config.snapshots.callbackUrl !== undefined) return config.snapshots.callbackUrl;
  const host = new URL(config.gateway.url).hostname;
  const isLocal = host === "localhost" || host === "[::1]" || host.startsWith("127.");
  const { protocol, domain, externalPort } = config.workload;
  return isLocal
    ? `http://127.0.0.1:${port}${CALLBACK_PATH}`
    : `${protocol}://${domain}:${externalPort === 0 ? port : externalPort}${CALLBACK_PATH}`;
}
