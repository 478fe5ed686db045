// The runners' sockets.
//
// K1  A socket belongs to the runner that its handshake names, whatever name that was (R3): after a restore a runner still
//     shows its first id and never repeats `run:start`.
// K2  Of several sockets of one runner the newest counts. A stale one's end changes nothing.
// K3  A lost socket is not the end of a runner (L3). It is remembered, until the runner is heard again in any way.
import { RunSocketMessage, WORKLOAD_HEADERS, WORKLOAD_SOCKET } from "@torpor/contracts";
import type { Clock, Closable } from "@torpor/kernel";
import type { Log } from "@torpor/observe";
import type { Server as NodeServer } from "node:http";
import { Server } from "socket.io";
import type { Runner } from "../runners/runner.ts";

export interface SocketCaller {
  readonly claim: string | undefined;
  readonly deploymentId: string | undefined;
  readonly remoteAddress: string;
}

/** One connection of a runner, as the library gives it; a simulation brings its own. */
export interface RunnerSocket {
  readonly connected: boolean;
  readonly handshake: {
    readonly headers: Readonly<Record<string, string | string[] | undefined>>;
    readonly address: string;
  };
  on(event: string, listener: (payload: unknown) => void): unknown;
  emit(event: string, payload: unknown): unknown;
  disconnect(close: boolean): unknown;
}

export interface SocketsDeps {
  readonly clock: Clock;
  readonly log: Log;
  /** Who connects; rejects when it may not. */
  readonly identify: (caller: SocketCaller) => Promise<Runner>;
}

/** What runners say over their sockets. */
export interface SocketHandlers {
  readonly onStart: (runner: Runner, message: RunSocketMessage) => void;
  readonly onStop: (runner: Runner, message: RunSocketMessage) => void;
  /** The runner is reachable again; what was pushed to it meanwhile is lost. */
  readonly onBack: (runner: Runner) => void;
}

/** Messages of runners are a few ids long. */
const MAX_MESSAGE_BYTES = 64 * 1024;

/** The `/workload` namespace. */
export class RunnerSockets implements Closable {
  readonly #deps: SocketsDeps;
  readonly #newest = new Map<string, RunnerSocket>();
  #io: Server | null = null;
  #handlers: SocketHandlers | null = null;

  constructor(deps: SocketsDeps) {
    this.#deps = deps;
  }

  /** From now on `handlers` hear what runners say. */
  handle(handlers: SocketHandlers): void {
    this.#handlers = handlers;
  }

  /** Takes the upgrade requests of a server. */
  attach(server: NodeServer, handlers: SocketHandlers): void {
    this.handle(handlers);
    const io = new Server(server, {
      transports: ["websocket"],
      serveClient: false,
      maxHttpBufferSize: MAX_MESSAGE_BYTES,
      connectTimeout: 10_000,
    });
    this.#io = io;
    io.of(WORKLOAD_SOCKET.namespace).on("connection", (socket) => void this.accept(socket));
  }

  /** Tells the holder of a run to look at once. False: it has no socket here now, its poll must find out. */
  notify(runner: Runner, runId: string): boolean {
    const socket = this.#newest.get(runner.name);
    socket?.emit(WORKLOAD_SOCKET.notify, { version: "1", run: { friendlyId: runId } });
    return socket !== undefined;
  }

  /** The sandbox is gone: it will never close its side, so we do, and before the next one of this runner arrives (K2). */
  drop(runner: Runner): void {
    const socket = this.#newest.get(runner.name);
    this.#newest.delete(runner.name);
    socket?.disconnect(true);
  }

  close(): void {
    this.#io?.of(WORKLOAD_SOCKET.namespace).disconnectSockets(true);
    this.#io?.engine.close();
    this.#io = null;
  }

  /** Takes a connection in, or ends it. */
  async accept(socket: RunnerSocket): Promise<void> {
    const headers = socket.handshake.headers;
    const early: { event: string; payload: unknown }[] = [];
    let take = (event: string, payload: unknown): void => void early.push({ event, payload });
    for (const event of [WORKLOAD_SOCKET.start, WORKLOAD_SOCKET.stop]) socket.on(event, (payload: unknown) => take(event, payload));
    let runner: Runner;
    try {
      runner = await this.#deps.identify({
        claim: one(headers[WORKLOAD_HEADERS.runnerId]),
        deploymentId: one(headers[WORKLOAD_HEADERS.deploymentId]),
        remoteAddress: socket.handshake.address,
      });
    } catch (error) {
      this.#deps.log.warn({ err: error, remoteAddress: socket.handshake.address }, "a runner's socket was refused");
      socket.disconnect(true);
      return;
    }
    if (!socket.connected) return;
    take = (event, payload) => this.#message(runner, event, payload);
    this.#register(runner, socket);
    for (const { event, payload } of early) take(event, payload);
  }

  #register(runner: Runner, socket: RunnerSocket): void {
    const older = this.#newest.get(runner.name);
    this.#newest.set(runner.name, socket);
    older?.disconnect(true);
    socket.on("disconnect", () => this.#disconnected(runner, socket));
    runner.socketLostMs = null;
    runner.heardMs = this.#deps.clock.monotonicMs();
    if (runner.hadSocket || runner.lineage.length > 0) this.#handlers?.onBack(runner);
    runner.hadSocket = true;
  }

  #disconnected(runner: Runner, socket: RunnerSocket): void {
    if (this.#newest.get(runner.name) !== socket) return;
    this.#newest.delete(runner.name);
    runner.socketLostMs = this.#deps.clock.monotonicMs();
  }

  #message(runner: Runner, event: string, payload: unknown): void {
    const message = RunSocketMessage.safeParse(payload);
    if (!message.success) return this.#deps.log.warn({ runnerId: runner.name, event }, "a runner's message cannot be read and is ignored");
    runner.heardMs = this.#deps.clock.monotonicMs();
    if (event === WORKLOAD_SOCKET.start) this.#handlers?.onStart(runner, message.data);
    else this.#handlers?.onStop(runner, message.data);
  }
}

function one(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value[0] : value;
}
