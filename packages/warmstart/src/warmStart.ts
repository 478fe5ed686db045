import type { IncomingHttpHeaders } from "node:http";
import { TorporError, warmStart, WARM_START_HEADERS, type BodyOf, type ReplyOf } from "@torpor/contracts";
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
    mount(warmStart.poll, async ({ headers, signal, remoteAddress }) => {
      const poll = {
        controllerId: header(headers, WARM_START_HEADERS.controllerId),
        key: keyOfRunner(headers),
        settles: headers[WARM_START_HEADERS.settles] === "true" && (config.openDispatch || isLoopback(remoteAddress)),
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
      mayDispatch(config, remoteAddress);
      return await dispatch(idle, { log, metrics }, body);
    }),
    mount(warmStart.settle, async ({ body, remoteAddress }) => {
      mayDispatch(config, remoteAddress);
      idle.handOvers.settle(body.controllerId, body.runId, body.outcome);
      return { ok: true as const };
    }),
  ];
}

/** Sandboxes reach the broker too: what they could say here would be another's run, or a lie about one. */
function mayDispatch(config: WarmStartConfig, remoteAddress: string): void {
  if (config.openDispatch || isLoopback(remoteAddress)) return;
  throw new TorporError(
    "forbidden",
    "Cannot offer a run from another machine: set TORPOR_WARM_START_OPEN_DISPATCH=true if supervisors are elsewhere",
  );
}

type DispatchReply = ReplyOf<typeof warmStart.dispatch>;

/**
 * Who asks for it is answered when it is certain that the run has begun. Anybody else is answered when it was written to a runner, as the
 * shared protocol has it; should that runner give no sign, the run goes to the next one behind that answer.
 */
async function dispatch(
  idle: IdleRunners,
  { log, metrics }: Pick<WarmStartDeps, "log" | "metrics">,
  { dequeuedMessage, acknowledge = false }: BodyOf<typeof warmStart.dispatch>,
): Promise<DispatchReply> {
  const key = keyOfRun(dequeuedMessage);
  // A run whose memory is on disk can only be restored.
  if (key === undefined || dequeuedMessage.checkpoint !== undefined) return { didWarmStart: false };
  return await new Promise<DispatchReply>((answer, reject) => {
    const onGiven = (controllerId: string): void => {
      if (!acknowledge) answer({ didWarmStart: true, controllerId });
    };
    idle.offer(dequeuedMessage, key, onGiven).then((outcome) => {
      metrics.count("torpor_warm_start_offers_total", { outcome: outcome.kind });
      log.debug({ runId: dequeuedMessage.run.friendlyId, ...outcome }, "a run was offered to idle runners");
      answer(
        outcome.kind === "none"
          ? { didWarmStart: false }
          : { didWarmStart: true, controllerId: outcome.controllerId, acknowledged: outcome.kind === "started" },
      );
    }, reject);
  });
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
