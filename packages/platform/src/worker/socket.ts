import type { Server as NodeServer } from "node:http";
import { RunSubscription, TorporError, WORKER_SOCKET } from "@torpor/contracts";
import type { RunNotifications } from "@torpor/engine";
import type { Closable } from "@torpor/kernel";
import type { Log, Metrics } from "@torpor/observe";
import { Server, type Socket } from "socket.io";
import { workerCaller, type AuthOptions } from "../auth/callers.ts";

export interface WorkerSocketOptions {
  readonly server: NodeServer;
  readonly engine: RunNotifications;
  readonly auth: Pick<AuthOptions, "identities" | "managedSecret">;
  /** Runs that one node may watch at once. */
  readonly maxSubscriptions: number;
  readonly log: Log;
  readonly metrics: Metrics;
}

/** A list of 10 000 ids of runs is about 400 KB. */
const MAX_MESSAGE_BYTES = 1024 * 1024;

/**
 * Tells nodes that a run has something new. A notification is a hint: whoever misses one finds out by polling. The engine
 * hears of changes through the database, so it does not matter to which process a node is connected.
 */
export function serveWorkerSocket(options: WorkerSocketOptions): Closable {
  const { metrics, engine } = options;
  const io = new Server(options.server, {
    transports: ["websocket"],
    serveClient: false,
    maxHttpBufferSize: MAX_MESSAGE_BYTES,
    pingInterval: 10_000,
    pingTimeout: 10_000,
    connectTimeout: 5_000,
  });
  const nodes = io.of(WORKER_SOCKET.namespace);
  nodes.use(async (socket, next) => next(await admit(socket, options)));
  nodes.on("connection", (socket) => {
    metrics.gauge("torpor_platform_worker_sockets", nodes.sockets.size);
    socket.on("disconnect", () => metrics.gauge("torpor_platform_worker_sockets", nodes.sockets.size));
    watchSubscriptions(socket, options);
  });
  const stopListening = engine.onRunChanged((runId) => {
    if (nodes.adapter.rooms.has(runId)) nodes.to(runId).emit(WORKER_SOCKET.notify, { version: "1", run: { friendlyId: runId } });
  });
  const stopPromotions = engine.onPromoted((environmentId) => nodes.emit(WORKER_SOCKET.promoted, { version: "1", environmentId }));
  return {
    close: () => {
      stopListening();
      stopPromotions();
      io.disconnectSockets(true);
      io.engine.close();
    },
  };
}

/** Nothing for a node that may come in, or the error that it is told. */
async function admit(socket: Socket, { auth, log }: WorkerSocketOptions): Promise<Error | undefined> {
  try {
    const { ref } = await workerCaller(socket.handshake.headers, auth);
    socket.data = { instanceName: ref.instanceName };
    return undefined;
  } catch (error) {
    if (error instanceof TorporError) return error;
    log.error({ err: error }, "a node's socket could not be authenticated");
    return new Error("Cannot authenticate: something unforeseen went wrong on the server");
  }
}

function watchSubscriptions(socket: Socket, { maxSubscriptions, log }: WorkerSocketOptions): void {
  const { instanceName } = socket.data as { instanceName: string };
  socket.on(WORKER_SOCKET.subscribe, (message: unknown) => {
    const runIds = runIdsOf(message);
    // Its own id is a room too.
    if (runIds === undefined || socket.rooms.size - 1 + runIds.length > maxSubscriptions) {
      log.warn(
        { instanceName, watched: socket.rooms.size - 1, asked: runIds?.length },
        "refused a subscription: not understood, or too many runs",
      );
      return;
    }
    void socket.join(runIds);
  });
  socket.on(WORKER_SOCKET.unsubscribe, (message: unknown) => {
    for (const runId of runIdsOf(message) ?? []) void socket.leave(runId);
  });
}

function runIdsOf(message: unknown): string[] | undefined {
  // A room named like the socket itself would be its private one.
  return RunSubscription.safeParse(message).data?.runFriendlyIds.filter((id) => id.startsWith("run_"));
}
