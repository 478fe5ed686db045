// The socket on which the platform tells that something about a run has changed.
//
// P1  The set of runs is ours and outlives every connection: it is sent anew at each connect.
// P2  However a connection ends, also when the platform ended it, another is tried after 1 to 30 s, for ever.
// P3  A lost notification costs time, never correctness: runners poll, and intents ask before they freeze.
import { DeploymentPromoted, RunNotification, WORKER_SOCKET } from "@torpor/contracts";
import { backoffMs, type Clock, type Closable, type Timer } from "@torpor/kernel";
import type { Log } from "@torpor/observe";
import { io, type Socket } from "socket.io-client";

const RETRY_BASE_MS = 1_000;
const RETRY_MAX_MS = 30_000;
/** As many as one message may name. */
const MAX_IDS = 10_000;

export interface PlatformSocketDeps {
  readonly url: string;
  readonly headers: () => Readonly<Record<string, string>>;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Log;
  readonly onNotify: (runId: string) => void;
  /** An environment has another current version. */
  readonly onPromoted: (environmentId: string) => void;
}

/** Keeps a subscription for every run that this node hosts. */
export class PlatformSocket implements Closable {
  readonly #deps: PlatformSocketDeps;
  readonly #runIds = new Set<string>();
  #socket: Socket | null = null;
  #retry: Timer | null = null;
  #failures = 0;
  #closed = false;

  constructor(deps: PlatformSocketDeps) {
    this.#deps = deps;
  }

  get connected(): boolean {
    return this.#socket?.connected === true;
  }

  start(): void {
    this.#connect();
  }

  subscribe(runId: string): void {
    if (this.#runIds.has(runId)) return;
    this.#runIds.add(runId);
    if (this.connected) this.#send(WORKER_SOCKET.subscribe, [runId]);
  }

  unsubscribe(runId: string): void {
    if (!this.#runIds.delete(runId)) return;
    if (this.connected) this.#send(WORKER_SOCKET.unsubscribe, [runId]);
  }

  close(): void {
    this.#closed = true;
    this.#retry?.cancel();
    this.#socket?.disconnect();
    this.#socket = null;
  }

  #connect(): void {
    const address = `${this.#deps.url.replace(/\/$/, "")}${WORKER_SOCKET.namespace}`;
    const socket = io(address, {
      transports: ["websocket"],
      extraHeaders: { ...this.#deps.headers() },
      reconnection: false,
      forceNew: true,
      timeout: 10_000,
    });
    this.#socket = socket;
    socket.on("connect", () => this.#onConnect());
    socket.on("connect_error", (error) => this.#onEnd(socket, error.message));
    socket.on("disconnect", (reason) => this.#onEnd(socket, reason));
    socket.on(WORKER_SOCKET.promoted, (payload: unknown) => this.#promoted(payload));
    socket.on(WORKER_SOCKET.notify, (payload: unknown) => {
      const notification = RunNotification.safeParse(payload);
      if (notification.success) this.#deps.onNotify(notification.data.run.friendlyId);
      else this.#deps.log.warn({ payload }, "a notification of the platform cannot be read and is ignored");
    });
  }

  /** What is lost of these costs some memory for a while. */
  #promoted(payload: unknown): void {
    const promoted = DeploymentPromoted.safeParse(payload);
    if (promoted.success) this.#deps.onPromoted(promoted.data.environmentId);
  }

  #onConnect(): void {
    this.#failures = 0;
    const runIds = [...this.#runIds];
    for (let start = 0; start < runIds.length; start += MAX_IDS) this.#send(WORKER_SOCKET.subscribe, runIds.slice(start, start + MAX_IDS));
    this.#deps.log.debug({ runs: runIds.length }, "subscribed at the platform");
    // What was told while nobody listened is looked up now (P3).
    for (const runId of runIds) this.#deps.onNotify(runId);
  }

  #onEnd(socket: Socket, reason: string): void {
    if (this.#closed || socket !== this.#socket) return;
    socket.removeAllListeners();
    socket.disconnect();
    this.#socket = null;
    this.#failures++;
    const delayMs = backoffMs(this.#failures, { baseMs: RETRY_BASE_MS, factor: 2, maxMs: RETRY_MAX_MS / 1.5, random: this.#deps.random });
    this.#deps.log.warn({ reason, delayMs: Math.round(delayMs) }, "the platform's socket ended; trying again");
    this.#retry = this.#deps.clock.after(delayMs, () => this.#connect());
  }

  #send(event: string, runFriendlyIds: readonly string[]): void {
    this.#socket?.emit(event, { version: "1", runFriendlyIds });
  }
}
