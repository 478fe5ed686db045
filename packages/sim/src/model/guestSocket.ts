// A runner's socket to its supervisor. It comes back by itself, says the same name for ever, and is not told of what it missed.
import { WORKLOAD_HEADERS, WORKLOAD_SOCKET, type RunNotification } from "@torpor/contracts";
import type { RunnerSocket } from "@torpor/supervisor";
import type { SimProcess } from "../kernel/simProcess.ts";

export interface SocketHost {
  /** The supervisor that takes sockets on a node now, and what it takes them with. */
  socketServer(node: number): { readonly process: SimProcess; accept(socket: RunnerSocket): void } | null;
  /** Calls `fire` after that time, whoever lives. */
  later(delayMs: number, fire: () => void): void;
}

export interface GuestSocketOptions {
  readonly host: SocketHost;
  readonly process: SimProcess;
  readonly node: number;
  readonly handshakeId: string;
  readonly address: string;
  readonly isFrozen: () => boolean;
  readonly onConnected: () => void;
  readonly onNotify: (runId: string) => void;
  readonly onDisconnect: () => void;
}

const TRAVEL_MS = 2;
/** A runner connects as soon as it has started. */
const FIRST_MS = 310;
const RECONNECT_MS = { min: 500, max: 1_500 };
/** After this the server gives up on a peer that says nothing any more. */
const PING_TIMEOUT_MS = 45_000;

export class GuestSocket {
  readonly #options: GuestSocketOptions;
  #connection: Connection | null = null;
  /** Said before the connection stood. */
  readonly #unsent: { event: string; payload: unknown }[] = [];
  #awayUntilMs = 0;

  constructor(options: GuestSocketOptions) {
    this.#options = options;
  }

  connectFirst(): void {
    this.#options.process.clock.after(FIRST_MS, () => this.#connect());
  }

  connectSoon(): void {
    const { process } = this.#options;
    const delayMs = process.random.int(RECONNECT_MS.min, RECONNECT_MS.max);
    process.clock.after(delayMs, () => this.#connect());
  }

  emit(event: string, payload: unknown): void {
    if (this.#connection === null) this.#unsent.push({ event, payload });
    else this.#connection.say(event, payload);
  }

  /** The connection is found to be dead. */
  lost(): void {
    this.#connection = null;
    this.#options.onDisconnect();
  }

  /** Both sides lose each other, and it takes that long until they can meet again. */
  blip(awayMs: number): void {
    this.#awayUntilMs = this.#options.process.clock.monotonicMs() + awayMs;
    this.#connection?.cut(TRAVEL_MS);
  }

  /** Its process is no more. Some ends are seen at once, of others the server hears nothing. */
  kill(): void {
    this.#connection?.cut(this.#options.process.random.chance(0.7) ? TRAVEL_MS : PING_TIMEOUT_MS);
    this.#connection = null;
  }

  #connect(): void {
    const { host, node, process } = this.#options;
    if (this.#connection !== null) return;
    const server = host.socketServer(node);
    if (server === null || this.#options.isFrozen() || process.clock.monotonicMs() < this.#awayUntilMs) return this.connectSoon();
    const connection = new Connection({ ...this.#options, server: server.process, onEnd: (ended) => this.#ended(ended) });
    this.#connection = connection;
    this.#options.onConnected();
    host.later(TRAVEL_MS, () => {
      if (server.process.alive && connection.connected) server.accept(connection);
    });
    for (const { event, payload } of this.#unsent.splice(0)) connection.say(event, payload);
  }

  #ended(connection: Connection): void {
    if (this.#connection !== connection) return;
    this.#connection = null;
    this.#options.onDisconnect();
  }
}

interface ConnectionOptions extends GuestSocketOptions {
  readonly server: SimProcess;
  readonly onEnd: (connection: Connection) => void;
}

/** One connection, as the server holds it. */
class Connection implements RunnerSocket {
  readonly handshake: RunnerSocket["handshake"];
  readonly #options: ConnectionOptions;
  readonly #listeners = new Map<string, (payload: unknown) => void>();
  connected = true;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.handshake = {
      address: options.address,
      headers: { [WORKLOAD_HEADERS.runnerId]: options.handshakeId, [WORKLOAD_HEADERS.deploymentId]: "deployment_d" },
    };
    options.server.onKill(() => this.#close(TRAVEL_MS));
  }

  on(event: string, listener: (payload: unknown) => void): void {
    this.#listeners.set(event, listener);
  }

  emit(event: string, payload: unknown): void {
    if (event !== WORKLOAD_SOCKET.notify) return;
    const { host, onNotify } = this.#options;
    host.later(TRAVEL_MS, () => this.connected && onNotify((payload as RunNotification).run.friendlyId));
  }

  disconnect(): void {
    if (!this.connected) return;
    this.#hear("disconnect", undefined);
    this.#close(TRAVEL_MS);
  }

  /** What the runner says. */
  say(event: string, payload: unknown): void {
    this.#options.host.later(2 * TRAVEL_MS, () => this.connected && this.#hear(event, payload));
  }

  /** It breaks: the server notices after that time. */
  cut(noticedAfterMs: number): void {
    if (!this.connected) return;
    this.#options.host.later(noticedAfterMs, () => this.#hear("disconnect", undefined));
    this.#close(TRAVEL_MS);
  }

  #hear(event: string, payload: unknown): void {
    if (this.#options.server.alive) this.#listeners.get(event)?.(payload);
  }

  #close(afterMs: number): void {
    if (!this.connected) return;
    this.connected = false;
    this.#options.host.later(afterMs, () => this.#options.process.alive && this.#options.onEnd(this));
  }
}
