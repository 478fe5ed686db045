// The small platform and the small gateway over HTTP and sockets, and a supervisor between them, all on loopback.
import { RunSubscription, WORKER_SOCKET } from "@torpor/contracts";
import { startServer, type RunningServer } from "@torpor/http";
import { Scope, systemClock, systemRandom, type Closable, type Random } from "@torpor/kernel";
import { createMetrics, silentLog } from "@torpor/observe";
import { Server } from "socket.io";
import { readConfig } from "../src/config.ts";
import { startSupervisor, type RunningSupervisor } from "../src/supervisor.ts";
import { FakeGateway, type FakeHost } from "./fakeGateway.ts";
import { FakePlatform } from "./fakePlatform.ts";
import { ENV } from "./node.ts";

export interface WireOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly host?: FakeHost;
  readonly task?: { readonly id: string; readonly filePath: string; readonly payload: string };
  readonly random?: Random;
}

export interface Wire extends Closable {
  readonly platform: FakePlatform;
  readonly gateway: FakeGateway;
  readonly supervisor: RunningSupervisor;
  readonly platformSockets: Server;
  /** Runs that some socket is subscribed to. */
  readonly subscribed: () => string[];
  readonly platformUrl: string;
  readonly gatewayUrl: string;
  close(): Promise<void>;
}

const pass = async (): Promise<null> => null;

export async function startWire(options: WireOptions = {}): Promise<Wire> {
  const scope = new Scope();
  let deliverTo = "";
  const envVars: Record<string, string> = { TRIGGER_SECRET_KEY: "tr_prod_x" };
  const platform = new FakePlatform({ clock: systemClock, envVars, ...(options.task === undefined ? {} : { task: options.task }) });
  const gateway = new FakeGateway({
    clock: systemClock,
    token: ENV.COMPUTE_GATEWAY_AUTH_TOKEN,
    ...(options.host === undefined ? {} : { host: options.host }),
    deliver: async (body, headers) => (await fetch(deliverTo, { method: "POST", body: new Uint8Array(body), headers })).status,
  });
  let sockets: Server | undefined;
  const platformServer: RunningServer = scope.use(
    await startServer({
      routes: platform.routes(),
      authenticators: { worker: pass },
      listen: { host: "127.0.0.1", port: 0 },
      log: silentLog,
      extend: (app) => {
        // What a task says to the platform itself.
        app.post<{ Params: { runId: string } }>("/engine/v1/runs/:runId/wait/duration", async (request_, reply) => {
          if (!platform.canWait(request_.params.runId))
            return await reply.code(422).send({ error: "Cannot wait: the run is not executing" });
          const waitpointId = `waitpoint_w${request_.id.replace(/\W/g, "")}`;
          platform.block(request_.params.runId, waitpointId);
          return { waitUntil: new Date(Date.now() + 60_000), waitpoint: { id: waitpointId } };
        });
        app.all("/otel/*", async () => ({}));
        app.addHook("onReady", async () => {
          sockets = new Server(app.server, { transports: ["websocket"] });
        });
      },
    }),
  );
  envVars["TRIGGER_API_URL"] = platformServer.url;
  if (sockets === undefined) throw new Error("the platform has no sockets");
  const io = sockets;
  scope.defer(() => {
    io.disconnectSockets(true);
    io.engine.close();
  });
  io.of(WORKER_SOCKET.namespace).on("connection", (socket) => {
    socket.on(WORKER_SOCKET.subscribe, (message: unknown) => void socket.join(RunSubscription.parse(message).runFriendlyIds));
    socket.on(WORKER_SOCKET.unsubscribe, (message: unknown) =>
      RunSubscription.parse(message).runFriendlyIds.forEach((id) => void socket.leave(id)),
    );
  });
  platform.onNotify = (runId) =>
    void io
      .of(WORKER_SOCKET.namespace)
      .to(runId)
      .emit(WORKER_SOCKET.notify, { version: "1", run: { friendlyId: runId } });
  const gatewayServer = scope.use(
    await startServer({
      routes: gateway.routes(),
      authenticators: { gateway: pass },
      listen: { host: "127.0.0.1", port: 0 },
      log: silentLog,
    }),
  );
  const config = readConfig(
    {
      ...ENV,
      TRIGGER_API_URL: platformServer.url,
      OTEL_EXPORTER_OTLP_ENDPOINT: `${platformServer.url}/otel`,
      COMPUTE_GATEWAY_URL: gatewayServer.url,
      TRIGGER_WORKLOAD_API_PORT_INTERNAL: "0",
      TORPOR_DRAIN_MS: "3000",
      ...options.env,
    },
    { instanceName: () => "node" },
  );
  const supervisor = scope.use(
    await startSupervisor(config, {
      clock: systemClock,
      random: options.random ?? systemRandom,
      log: silentLog,
      metrics: createMetrics({ withProcess: false }),
    }),
  );
  deliverTo = `${supervisor.workloadUrl}/api/v1/compute/snapshot-complete`;
  await supervisor.ready;
  return {
    platform,
    gateway,
    supervisor,
    platformSockets: io,
    platformUrl: platformServer.url,
    gatewayUrl: gatewayServer.url,
    subscribed: () => [...io.of(WORKER_SOCKET.namespace).adapter.rooms.keys()].filter((room) => room.startsWith("run_")),
    close: () => scope.close(),
  };
}

/** Waits until something holds, and fails when it does not in time. */
export async function until(what: string, holds: () => boolean, withinMs = 30_000): Promise<void> {
  const endMs = performance.now() + withinMs;
  while (!holds()) {
    if (performance.now() > endMs) throw new Error(`not within ${withinMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
