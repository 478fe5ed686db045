// One sandbox's inside: a runner with its timers, calls and socket, which can be stopped where it stands, written down, and
// started again elsewhere.
import type { Timer } from "@torpor/kernel";
import type { WireOutcome } from "../network/message.ts";
import type { RunPlan } from "../scenario/scenario.ts";
import { CALL_ROUTES, CALL_RULES, headersOf } from "./guestCalls.ts";
import type { GuestOptions } from "./guestHost.ts";
import { GuestSocket } from "./guestSocket.ts";
import { RunnerModel } from "./runner.ts";
import type { RunnerAnswer, RunnerShell } from "./runnerShell.ts";
import type { CallKind, CallMemory, ExecutionMemory, RunnerMemory } from "./runnerMemory.ts";

const MAX_BACKOFF_MS = 10_000;
const RESET_MS = 5;
/** After this a call into nowhere is given up. */
const CUT_NOTICED_MS = 3_000;

export class Guest implements RunnerShell {
  readonly memory: RunnerMemory;
  readonly pollMs: number;
  readonly heartbeatMs: number;
  readonly #options: GuestOptions;
  readonly #model: RunnerModel;
  readonly #timers = new Map<string, Timer>();
  readonly #socket: GuestSocket;
  /** What arrived while it stood still. */
  readonly #inbox: (() => void)[] = [];
  /** Numbers of the calls whose answers are waited for, by name. */
  readonly #open = new Map<string, number>();
  #calls = 0;
  #frozenAtMs: number | null = null;
  #cutUntilMs = 0;

  constructor(options: GuestOptions) {
    this.#options = options;
    this.memory = options.memory;
    this.pollMs = options.host.pollMs;
    this.heartbeatMs = options.host.heartbeatMs;
    this.#model = new RunnerModel(this);
    this.#socket = new GuestSocket({
      host: options.host,
      process: options.process,
      node: options.node,
      handshakeId: options.memory.handshakeId,
      address: options.address,
      isFrozen: () => this.#frozenAtMs !== null,
      onConnected: () => void (this.memory.hasSocket = true),
      onNotify: (runId) => this.#hear(() => this.#model.onNotify(runId)),
      onDisconnect: () =>
        this.#hear(() => {
          this.memory.hasSocket = false;
          this.#model.onDisconnect();
          this.#socket.connectSoon();
        }),
    });
  }

  get isFrozen(): boolean {
    return this.#frozenAtMs !== null;
  }

  /** A fresh process. */
  boot(env: Readonly<Record<string, string>>): void {
    this.#socket.connectFirst();
    this.#model.boot(env);
  }

  /** A process that was written down: its connections are dead, its timers go on. */
  wake(): void {
    for (const [name, leftMs] of Object.entries(this.memory.timers)) this.setTimer(name, leftMs);
    for (const [name, call] of Object.entries(this.memory.calls))
      this.#options.process.clock.after(RESET_MS, () => this.#answered(name, call, { kind: "unreachable" }));
    if (this.memory.hasSocket) this.#options.process.clock.after(RESET_MS, () => this.#socket.lost());
    else this.#socket.connectSoon();
  }

  /** No instruction of it runs from here on. */
  freeze(): void {
    if (this.#frozenAtMs !== null) return;
    this.#frozenAtMs = this.nowMs();
    for (const timer of this.#timers.values()) timer.cancel();
    this.#timers.clear();
  }

  thaw(): void {
    if (this.#frozenAtMs === null) return;
    const stoodMs = this.#options.host.guestClock === "stand_still" ? this.nowMs() - this.#frozenAtMs : 0;
    this.#frozenAtMs = null;
    for (const [name, dueMs] of Object.entries(this.memory.timers)) this.setTimer(name, Math.max(0, dueMs + stoodMs - this.nowMs()));
    for (const hear of this.#inbox.splice(0)) hear();
  }

  /** Its memory as a file: only while it stands still. */
  dump(): string {
    const { memory } = this;
    const sinceMs = this.#options.host.guestClock === "stand_still" ? (this.#frozenAtMs ?? this.nowMs()) : this.nowMs();
    const timers = Object.fromEntries(Object.entries(memory.timers).map(([name, dueMs]) => [name, Math.max(0, dueMs - sinceMs)]));
    const idleLeftMs = Math.max(0, memory.idleUntilMs - sinceMs);
    return JSON.stringify({ ...memory, timers, idleUntilMs: idleLeftMs });
  }

  kill(): void {
    this.#options.process.kill();
    this.#timers.clear();
    this.#socket.kill();
  }

  /** Its network hiccups. */
  loseSocket(awayMs: number, isCut: boolean): void {
    this.#socket.blip(awayMs);
    if (isCut) this.#cutUntilMs = this.nowMs() + awayMs;
  }

  nowMs(): number {
    return this.#options.host.nowMs();
  }

  setTimer(name: string, delayMs: number): void {
    this.clearTimer(name);
    this.memory.timers[name] = this.nowMs() + delayMs;
    const fire = (): void => {
      this.#timers.delete(name);
      delete this.memory.timers[name];
      this.#model.onTimer(name);
    };
    if (this.#frozenAtMs === null) this.#timers.set(name, this.#options.process.clock.after(delayMs, fire));
  }

  clearTimer(name: string): void {
    this.#timers.get(name)?.cancel();
    this.#timers.delete(name);
    delete this.memory.timers[name];
  }

  call(name: string, kind: CallKind, at: { runId: string; snapshotId: string }, options: { body?: unknown; purpose?: string } = {}): void {
    this.memory.calls[name] = { kind, at, body: options.body, purpose: options.purpose ?? "", tries: 0 };
    this.#send(name);
  }

  dropCall(name: string): void {
    delete this.memory.calls[name];
    this.#open.delete(name);
  }

  emit(event: "run:start" | "run:stop", runId: string, snapshotId: string): void {
    this.#socket.emit(event, { version: "1", run: { friendlyId: runId }, snapshot: { friendlyId: snapshotId } });
  }

  planOf(index: number): RunPlan {
    return this.#options.host.planOf(index);
  }

  planIndexOf(runId: string): number {
    return this.#options.host.planIndexOf(runId);
  }

  stepped(execution: ExecutionMemory): void {
    this.#options.host.stepped(this.#options.id, execution);
  }

  noted(what: string, facts: Readonly<Record<string, unknown>>): void {
    this.#options.host.noted(this.#options.id, what, facts);
  }

  exit(code: number): void {
    this.kill();
    this.#options.onExit(code);
  }

  #send(name: string): void {
    const call = this.memory.calls[name];
    if (call === undefined) return;
    call.tries++;
    const number = ++this.#calls;
    this.#open.set(name, number);
    const settle = (answer: RunnerAnswer, mayRetry: boolean): void =>
      this.#hear(() => {
        if (this.#open.get(name) !== number) return;
        if (mayRetry && call.tries < CALL_RULES[call.kind].tries) return this.#retryLater(name, call);
        this.#answered(name, call, answer);
      });
    if (call.kind === "env") {
      const metadata = this.#options.metadata();
      this.#options.process.clock.after(2, () =>
        settle(metadata === null ? { kind: "unreachable" } : { kind: "ok", body: metadata }, false),
      );
      return;
    }
    if (this.nowMs() < this.#cutUntilMs) {
      this.#options.process.clock.after(CUT_NOTICED_MS, () => settle({ kind: "unreachable" }, true));
      return;
    }
    void this.#request(call).then((outcome) => {
      if (outcome.kind === "unreachable") return settle({ kind: "unreachable" }, true);
      const { status, body, shouldRetry } = outcome.answer;
      if (status < 300) return settle({ kind: "ok", body }, false);
      const byStatus = status === 408 || status === 409 || status === 429 || status >= 500;
      settle({ kind: "refused", status }, shouldRetry === undefined ? byStatus : shouldRetry === "true");
    });
  }

  #retryLater(name: string, call: CallMemory): void {
    const { baseMs } = CALL_RULES[call.kind];
    const delayMs = Math.min(baseMs * 2 ** (call.tries - 1), MAX_BACKOFF_MS) * (0.5 + this.#options.process.random.unit());
    const number = this.#open.get(name);
    this.#options.process.clock.after(delayMs, () => this.#hear(() => this.#open.get(name) === number && this.#send(name)));
  }

  #answered(name: string, call: CallMemory, answer: RunnerAnswer): void {
    if (this.memory.calls[name] !== call) return;
    this.dropCall(name);
    this.#model.onAnswer(call.kind, answer, call.purpose);
  }

  /** Something reaches the process; while it stands still it waits at the door. */
  #hear(what: () => void): void {
    if (!this.#options.process.alive) return;
    if (this.#frozenAtMs === null) what();
    else this.#inbox.push(what);
  }

  #request(call: CallMemory): Promise<WireOutcome> {
    const { host, process, address } = this.#options;
    const { route, link } = CALL_ROUTES[call.kind];
    return host.call({ link, from: process, remoteAddress: address }, route, {
      params: call.at as never,
      headers: headersOf(call.kind, this.memory),
      ...(call.body === undefined ? {} : { body: call.body as never }),
      timeoutMs: CALL_RULES[call.kind].timeoutMs,
    });
  }
}
