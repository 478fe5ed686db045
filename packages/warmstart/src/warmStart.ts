import type { IncomingHttpHeaders } from "node:http";
import { TorporError, warmStart, WARM_START_HEADERS } from "@torpor/contracts";
import { Answer, mounter, startServer, type Mounted } from "@torpor/http";
import type { Closable, Clock } from "@torpor/kernel";
import type { Log, Metrics } from "@torpor/observe";
import type { WarmStartConfig } from "./config.ts";
import { deploymentIdShown, keyOfRun, type IdleKey } from "./idleKey.ts";
import { IdleRunners } from "./idleRunners.ts";

export interface WarmStartDeps {
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

export interface RunningWarmStart extends Closable {
  readonly url: string;
  /** Runners that wait right now. */
  readonly idleCount: () => number;
  close(): Promise<void>;
}

/** When the answer to each request has left, or its connection has ended: true for the former. */
type Written = WeakMap<IncomingHttpHeaders, Promise<boolean>>;

const mount = mounter<Record<never, never>>();
const MAX_CONNECTIONS = 20_000;

/** Starts the broker that hands runs to idle runners. */
export async function startWarmStart(config: WarmStartConfig, deps: WarmStartDeps): Promise<RunningWarmStart> {
  const idle = new IdleRunners({ clock: deps.clock, connectionTimeoutMs: config.connectionTimeoutMs, maxIdle: config.maxIdle });
  const written: Written = new WeakMap();
  const server = await startServer({
    routes: routes(config, deps, { idle, written }),
    authenticators: {},
    listen: config.listen,
    log: deps.log,
    closeConnections: true, // a pooled socket in a frozen sandbox would be taken for a runner that listens
    maxConnections: MAX_CONNECTIONS,
    extend: (app) => {
      app.get("/health", async () => "OK");
      app.addHook("onRequest", async (request, reply) => {
        const left = new Promise<boolean>((resolve) => {
          reply.raw.once("finish", () => resolve(true));
          reply.raw.once("close", () => resolve(reply.raw.writableFinished));
        });
        written.set(request.headers, left);
      });
    },
  });
  return {
    url: server.url,
    idleCount: () => idle.count,
    close: async () => {
      idle.close();
      await server.close();
    },
  };
}

function routes(
  config: WarmStartConfig,
  { log, metrics }: WarmStartDeps,
  { idle, written }: { idle: IdleRunners; written: Written },
): Mounted[] {
  return [
    mount(warmStart.connect, async () => ({ connectionTimeoutMs: config.connectionTimeoutMs, keepaliveMs: config.keepaliveMs })),
    mount(warmStart.poll, async ({ headers, signal }) => {
      const poll = {
        controllerId: header(headers, WARM_START_HEADERS.controllerId),
        key: keyOfRunner(headers),
        signal,
        written: written.get(headers) ?? Promise.resolve(false),
      };
      const message = await idle.wait(poll);
      metrics.gauge("torpor_warm_start_idle", idle.count);
      // Nobody reads this unless there are too many idle runners: then 503 tells this one to exit.
      if (message === null) throw new TorporError("no_capacity", "Cannot wait for a run: this poll was replaced or there are too many");
      return new Answer(message);
    }),
    mount(warmStart.dispatch, async ({ body, remoteAddress }) => {
      if (!config.openDispatch && !isLoopback(remoteAddress))
        throw new TorporError(
          "forbidden",
          "Cannot offer a run from another machine: set TORPOR_WARM_START_OPEN_DISPATCH=true if supervisors are elsewhere",
        );
      const { dequeuedMessage } = body;
      const key = keyOfRun(dequeuedMessage);
      // A run whose memory is on disk can only be restored.
      const controllerId =
        key === undefined || dequeuedMessage.checkpoint !== undefined ? undefined : await idle.offer(dequeuedMessage, key);
      metrics.count("torpor_warm_start_offers_total", { outcome: controllerId === undefined ? "none" : "taken" });
      log.debug({ runId: dequeuedMessage.run.friendlyId, controllerId }, "a run was offered to idle runners");
      return controllerId === undefined ? { didWarmStart: false } : { didWarmStart: true, controllerId };
    }),
  ];
}

function keyOfRunner(headers: IncomingHttpHeaders): IdleKey {
  return {
    deploymentId: deploymentIdShown(header(headers, WARM_START_HEADERS.deploymentId)),
    version: header(headers, WARM_START_HEADERS.deploymentVersion),
    cpu: number(headers, WARM_START_HEADERS.machineCpu),
    memory: number(headers, WARM_START_HEADERS.machineMemory),
  };
}

const MAX_HEADER_LENGTH = 8192;

function header(headers: IncomingHttpHeaders, name: string): string {
  const value = headers[name];
  if (typeof value !== "string" || value === "" || value.length > MAX_HEADER_LENGTH)
    throw new TorporError("request_invalid", `Cannot wait for a run: ${name} is missing`, { param: name });
  return value;
}

function number(headers: IncomingHttpHeaders, name: string): number {
  const value = Number(header(headers, name));
  if (!Number.isFinite(value)) throw new TorporError("request_invalid", `Cannot wait for a run: ${name} must be a number`, { param: name });
  return value;
}

function isLoopback(address: string): boolean {
  const plain = address.replace(/^::ffff:/, "");
  return plain === "::1" || plain.startsWith("127.");
}
