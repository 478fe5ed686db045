// Puts the gateway together.
import { mkdir } from "node:fs/promises";
import { TorporError } from "@torpor/contracts";
import { startServer } from "@torpor/http";
import { systemClock, systemRandom, type Clock, type Closable, type Random, type Secret } from "@torpor/kernel";
import { createLog, createMetrics, type Log, type Metrics } from "@torpor/observe";
import type { GatewayConfig } from "./config.ts";
import type { ComputeDriver } from "./drivers/driver.ts";
import { startGvisorDriver } from "./drivers/gvisor/index.ts";
import { startProcessDriver } from "./drivers/process/processDriver.ts";
import { createGraph, gatewayDir, type Graph } from "./graph.ts";
import { removeFiles } from "./removeFiles.ts";
import { installStored, storedImages, type ImageSource } from "./images.ts";
import { lockFolder } from "./instanceLock.ts";
import { endAll, recover } from "./sandboxes/recovery.ts";
import { httpPost } from "./snapshots/callback.ts";
import { watchArrivals } from "./templates/arrivals.ts";

/** What a gateway is given; everything has a real default. */
export interface GatewayDependencies {
  readonly clock?: Clock;
  readonly random?: Random;
  readonly log?: Log;
  readonly metrics?: Metrics;
  readonly driver?: ComputeDriver;
  readonly images?: ImageSource;
}

export interface RunningGateway {
  readonly url: string;
  readonly port: number;
  /** Limits that this host cannot enforce, as sentences for the operator. */
  readonly warnings: readonly string[];
  /**
   * Stops serving: snapshots in flight are cancelled, held sandboxes thawed, running ones go on and are taken over by the next
   * start. With `destroy` they end, and nothing of the plane is left: no process, file, network, rule, cgroup or mount.
   */
  close(options?: { readonly destroy: boolean }): Promise<void>;
}

/** Starts a gateway: recovers what an earlier one left, then serves. Throws when the host refuses. */
export async function startGateway(config: GatewayConfig, dependencies: GatewayDependencies = {}): Promise<RunningGateway> {
  const log = dependencies.log ?? createLog({ level: config.logLevel, part: "gateway" });
  const clock = dependencies.clock ?? systemClock;
  const random = dependencies.random ?? systemRandom;
  const metrics = dependencies.metrics ?? createMetrics({ withProcess: true });
  const dir = gatewayDir(config.stateDir);
  await mkdir(dir, { recursive: true, mode: 0o711 });
  // A driver that is given brings its own machine; our own works on this one, which no other gateway may use meanwhile
  const lock = dependencies.driver === undefined ? await lockFolder(dir) : undefined;
  const driver = dependencies.driver ?? (await startDriver(config, { clock, log }));
  const graph = createGraph(config, {
    clock,
    random,
    log,
    metrics,
    driver,
    images: dependencies.images ?? storedImages(config.imageStoreDir),
    post: httpPost,
  });
  const { core } = graph;
  await recover(graph);
  await graph.templates.load();
  const arrivals = graph.templates.isOn && dependencies.images === undefined ? await wantArrivals(config, graph, log) : undefined;
  const warnings = [...driver.warnings, ...core.staging.warnings];
  for (const warning of warnings) log.warn({}, warning);
  const server = await startServer({
    routes: graph.routes,
    authenticators: { gateway: bearer(config.token) },
    listen: config.listen,
    log,
    maxConnections: 1_024,
    onAnswered: ({ method, path, status, durationMs }) =>
      metrics.observeMs("torpor_gateway_request_seconds", durationMs, { method, path, status: String(status) }),
    extend: (app) => {
      app.get("/healthz", async () => ({ status: "ok" }));
      app.get("/metrics", async (_request, reply) => reply.type("text/plain").send(await renderMetrics(graph)));
    },
  });
  log.info({ url: server.url, driver: driver.name, plane: config.planeId }, "the gateway listens");
  return {
    url: server.url,
    port: server.port,
    warnings,
    close: once(async (options) => {
      core.events.close();
      graph.starts.close();
      arrivals?.close();
      await Promise.all([graph.templates.close(), graph.spares.close()]);
      await server.close();
      await graph.snapshotter.close();
      await graph.outbox.close();
      if (options?.destroy === true) await endAll(graph);
      await core.memory.close();
      await core.staging.close();
      if (options?.destroy === true) await driver.dispose();
      await driver.close();
      if (options?.destroy === true) await removeFiles(config.stateDir);
      await lock?.close();
    }),
  };
}

/** An image that comes to this node gets its templates at once. */
function wantArrivals(config: GatewayConfig, { core, templates }: Graph, log: Log): Promise<Closable> {
  return watchArrivals(config.imageStoreDir, log, async (reference, machines) => {
    const image = await core.images.find(reference);
    for (const machine of machines) templates.want(image, machine);
  });
}

async function startDriver(config: GatewayConfig, dependencies: { clock: Clock; log: Log }): Promise<ComputeDriver> {
  const stateDir = gatewayDir(config.stateDir);
  if (config.driver === "process") {
    return await startProcessDriver(
      { stateDir, services: config.services, install: (image, appDir) => installStored(config.imageStoreDir, image.digest, appDir) },
      dependencies,
    );
  }
  return await startGvisorDriver({ ...config, stateDir }, dependencies);
}

function bearer(token: Secret) {
  return async ({ headers }: { readonly headers: { readonly authorization?: string | undefined } }): Promise<null> => {
    const sent = /^Bearer (.+)$/.exec(headers.authorization ?? "")?.[1] ?? "";
    if (!token.matches(sent))
      throw new TorporError("unauthenticated", "Cannot authenticate: send `Authorization: Bearer <COMPUTE_GATEWAY_AUTH_TOKEN>`");
    return null;
  };
}

async function renderMetrics({ core, spares }: Graph): Promise<string> {
  for (const state of ["starting", "running", "freezing", "held"] as const) {
    core.metrics.gauge("torpor_gateway_sandboxes", core.table.all().filter((sandbox) => sandbox.record.state === state).length, { state });
  }
  const images = core.memory.list();
  core.metrics.gauge("torpor_gateway_memory_images", images.length);
  core.metrics.gauge(
    "torpor_gateway_memory_images_bytes",
    images.reduce((sum, { id }) => sum + core.memory.sizeBytes(id), 0),
  );
  core.metrics.gauge("torpor_gateway_memory_images_quota_bytes", await core.quotaBytes());
  for (const [stage, count] of Object.entries(spares.counts())) core.metrics.gauge("torpor_gateway_spares", count, { stage });
  core.metrics.gauge("torpor_gateway_staged_bytes", core.staging.reservedBytes);
  return await core.metrics.render();
}

function once(close: RunningGateway["close"]): RunningGateway["close"] {
  let closing: Promise<void> | undefined;
  return (options) => (closing ??= close(options));
}
