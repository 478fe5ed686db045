// The door at which runners wait for another run.
//
// D1  Who waits is known by its address (L14): deployment, version, machine and environment are what this node made it for, not
//     what it says. Where sandboxes have no addresses, a caller from this machine is taken at its word, as in all its other calls.
// D2  A runner is registered at the broker exactly as long as it can take a run: its connection stands, its client's patience is
//     not nearly over, its sandbox runs, it holds no run, and this node does not drain.
// D3  What the broker gives is judged again when it comes: a runner that cannot take it any more refuses, and the run goes to the
//     next one at once.
// D4  A run counts as taken at the first sign of its runner, and not before (L12). Without a sign in time it is another's.
// D5  Two environments never share a runner, two versions neither.
import type { DequeuedMessage } from "@torpor/contracts";
import type { Clock, Timer } from "@torpor/kernel";
import type { Log, Metrics } from "@torpor/observe";
import type { Runners } from "../runners/runners.ts";
import type { Room, Runner, Served } from "../runners/runner.ts";
import { isOlder, isServedBy, whoCalls, type WarmAnswer, type WarmCall, type WarmCaller } from "./warmCaller.ts";
import type { WaitingAs, WarmRelay } from "./warmRelay.ts";
import type { WarmSigns } from "./warmSigns.ts";

export interface WarmDoorDeps {
  readonly relay: WarmRelay;
  readonly signs: WarmSigns;
  readonly runners: Runners;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly signWithinMs: number;
  readonly maxIdle: number;
  /** How long one poll lasts. */
  readonly connectionMs: number;
  /** How long a runner that becomes idle now is kept; 0: it leaves. */
  readonly keepAliveMs: (who: WaitingAs, idleAlike: number) => number;
  /** No runner is ever kept longer, in milliseconds; 0: none is kept at all. */
  readonly maxKeepAliveMs: number;
  readonly draining: () => boolean;
  /** The runner waits for another run and holds one still: it has left that one without an end. */
  readonly onAbandoned: (runner: Runner, runId: string) => void;
  /** Removes the sandbox of a runner that gave no sign and was not heard since. */
  readonly retire: (runner: Runner) => Promise<void>;
}

/** Environments whose last promotion is remembered. */
const MAX_ENVIRONMENTS = 1_000;
/** The rest of a poll in which a run would come too late to be read for certain. */
const LATE_MS = 500;
/** A runner that was given a run, gave no sign and was not heard of for so long is not going to wake up. */
const MUTE_MS = 30_000;

/** A runner that waits. */
interface Seat {
  readonly caller: WarmCaller;
  readonly sinceMs: number;
  readonly answer: (answer: WarmAnswer) => void;
  /** Ends its registration at the broker. */
  readonly registered: AbortController;
  readonly timers: Timer[];
  readonly signal: AbortSignal;
}

export class WarmDoor {
  readonly #deps: WarmDoorDeps;
  /** By the name of who waits, in the order in which they came. */
  readonly #seats = new Map<string, Seat>();
  /** Since when a runner waits, over all its polls. */
  readonly #idleFrom = new WeakMap<Runner, number>();

  /** When an environment got another current version: whoever was made before that is of a former one. */
  readonly #promoted = new Map<string, number>();

  constructor(deps: WarmDoorDeps) {
    this.#deps = deps;
  }

  get idleCount(): number {
    return this.#seats.size;
  }

  /** How long a poll may last and how long it is worth waiting; when to leave is said here, not by the runner's own watch. */
  connect(): { connectionTimeoutMs: number; keepaliveMs: number } {
    const { connectionMs, maxKeepAliveMs, draining } = this.#deps;
    return { connectionTimeoutMs: connectionMs, keepaliveMs: draining() ? 0 : maxKeepAliveMs };
  }

  /** Waits for a run, as a runner's long poll. */
  async poll(call: WarmCall): Promise<WarmAnswer> {
    const caller = whoCalls(call, this.#deps.runners);
    if (caller === "unknown") return { kind: "again" };
    if (caller === "unfit" || this.#deps.draining()) return { kind: "leave" };
    const { runner } = caller;
    if (runner !== null) runner.heardMs = this.#deps.clock.monotonicMs();
    if (runner !== null && runner.runId !== null) this.#deps.onAbandoned(runner, runner.runId);
    return await this.#sit(caller, call.signal);
  }

  /** A runner is frozen, gone, or otherwise busy: it is offered nothing from this moment on (D2). */
  leave(runner: Runner): void {
    const seat = this.#seats.get(runner.name);
    if (seat !== undefined) this.#end(seat, { kind: "leave" });
  }

  /** Runs of a newer version have come: who waits for an older one's waits in vain. */
  newerVersion({ environmentId, version }: Served): void {
    for (const seat of this.#seats.values())
      if (seat.caller.environmentId === environmentId && isOlder(seat.caller.version, version)) this.#end(seat, { kind: "leave" });
  }

  /** Another version is the current one: who waits in this environment is of a former one. */
  promoted(environmentId: string): void {
    this.#promoted.set(environmentId, this.#deps.clock.monotonicMs());
    if (this.#promoted.size > MAX_ENVIRONMENTS) this.#promoted.delete(this.#promoted.keys().next().value ?? "");
    for (const seat of this.#seats.values()) if (seat.caller.environmentId === environmentId) this.#end(seat, { kind: "leave" });
  }

  /** Sends away whoever waits, because the memory is needed for something else. */
  clear(): void {
    for (const seat of this.#seats.values()) this.#end(seat, { kind: "leave" });
  }

  /** Removes as many idle runners as are needed for this much room, those that have waited longest first. Resolves when their sandboxes are gone. */
  async makeRoom(needs: Room, free: Room): Promise<void> {
    const room = { ...free };
    const gone: Promise<void>[] = [];
    for (const { caller } of this.#seats.values()) {
      if (needs.cpu <= room.cpu && needs.memoryGib <= room.memoryGib) break;
      if (caller.runner === null) continue;
      room.cpu += caller.runner.room.cpu;
      room.memoryGib += caller.runner.room.memoryGib;
      gone.push(this.#deps.retire(caller.runner));
    }
    await Promise.all(gone);
  }

  async #sit(caller: WarmCaller, signal: AbortSignal): Promise<WarmAnswer> {
    const { clock, connectionMs, keepAliveMs, maxIdle } = this.#deps;
    const former = this.#seats.get(caller.controllerId);
    if (former !== undefined) this.#end(former, { kind: "leave" }); // its newest poll is the only one
    const nowMs = clock.monotonicMs();
    const fromMs = (caller.runner === null ? undefined : this.#idleFrom.get(caller.runner)) ?? nowMs;
    if (caller.runner !== null) this.#idleFrom.set(caller.runner, fromMs);
    const keptMs = keepAliveMs(caller, this.#alike(caller)) - (nowMs - fromMs);
    if (signal.aborted || keptMs <= 0 || this.#isFormer(caller)) return { kind: "leave" };
    const [oldest] = this.#seats.values();
    if (oldest !== undefined && this.#seats.size >= maxIdle) this.#end(oldest, { kind: "leave" });
    return await new Promise((answer) => {
      const seat: Seat = {
        caller,
        sinceMs: fromMs,
        answer,
        registered: new AbortController(),
        timers: [
          clock.after(connectionMs - LATE_MS, () => seat.registered.abort()),
          clock.after(keptMs, () => this.#end(seat, { kind: "leave" })),
        ],
        signal,
      };
      signal.addEventListener("abort", () => this.#end(seat, { kind: "leave" }), { once: true });
      this.#seats.set(caller.controllerId, seat);
      this.#offer(seat);
    });
  }

  /** Registers a runner at the broker and gives it what comes (D3). */
  #offer(seat: Seat): void {
    const { relay, log } = this.#deps;
    if (seat.caller.runner !== null) seat.caller.runner.idleSinceMs ??= seat.sinceMs;
    this.#count();
    relay
      .wait(seat.caller, seat.registered.signal)
      .then(async (message) => {
        if (message === undefined) return;
        const { controllerId } = seat.caller;
        const outcome = this.#canTake(seat, message) ? await this.#give(seat, message) : "refused";
        if (outcome === "refused") this.#end(seat, { kind: "leave" });
        await relay.settle(controllerId, message.run.friendlyId, outcome);
      })
      .catch((error: unknown) =>
        log.error({ err: error, runnerId: seat.caller.controllerId }, "an idle runner could not be served, unforeseen"),
      );
  }

  /** D4. */
  async #give(seat: Seat, message: DequeuedMessage): Promise<"started" | "refused" | "silent"> {
    const { signs, signWithinMs, clock, metrics, log } = this.#deps;
    const { runner, controllerId } = seat.caller;
    const runId = message.run.friendlyId;
    const givenMs = clock.monotonicMs();
    const sign = signs.within(message.snapshot.friendlyId, signWithinMs, seat.signal);
    if (runner !== null) this.#idleFrom.delete(runner);
    this.#end(seat, { kind: "run", message });
    if (await sign) {
      metrics.observeMs("torpor_warm_sign_seconds", clock.monotonicMs() - givenMs);
      return "started";
    }
    if (seat.signal.aborted) return "refused"; // the connection had ended before the run was written to it
    log.warn({ runId, runnerId: controllerId }, "an idle runner was given a run and gives no sign of it");
    if (runner !== null) clock.after(MUTE_MS, () => void this.#retireMute(runner, givenMs));
    return "silent";
  }

  async #retireMute(runner: Runner, givenMs: number): Promise<void> {
    const { runners, retire } = this.#deps;
    if (runners.get(runner.name) !== runner || runner.runId !== null || runner.heardMs > givenMs) return;
    await retire(runner);
  }

  #canTake(seat: Seat, message: DequeuedMessage): boolean {
    const { runner, controllerId } = seat.caller;
    const isHere = this.#seats.get(controllerId) === seat && !seat.registered.signal.aborted && !this.#deps.draining();
    const isFree =
      runner === null || (this.#deps.runners.get(runner.name) === runner && runner.phase === "running" && runner.runId === null);
    const isItsOwn = runner === null || isServedBy(runner, message);
    if (isHere && isFree && !isItsOwn)
      this.#deps.log.error(
        { runId: message.run.friendlyId, runnerId: controllerId },
        "the broker gave a run to a runner of another version",
      );
    return isHere && isFree && isItsOwn;
  }

  #end(seat: Seat, answer: WarmAnswer): void {
    const { runner, controllerId } = seat.caller;
    seat.registered.abort();
    for (const timer of seat.timers) timer.cancel();
    if (this.#seats.get(controllerId) === seat) this.#seats.delete(controllerId);
    if (runner !== null) runner.idleSinceMs = null;
    this.#count();
    seat.answer(answer);
  }

  #alike({ deploymentId, version, cpu, memoryGib, controllerId }: WarmCaller): number {
    const isAlike = ({ caller }: Seat): boolean =>
      caller.deploymentId === deploymentId && caller.version === version && caller.cpu === cpu && caller.memoryGib === memoryGib;
    return [...this.#seats.values()].filter((seat) => isAlike(seat) && seat.caller.controllerId !== controllerId).length;
  }

  #isFormer({ runner, environmentId }: WarmCaller): boolean {
    const promotedMs = environmentId === undefined ? undefined : this.#promoted.get(environmentId);
    return runner !== null && promotedMs !== undefined && runner.createdMs < promotedMs;
  }

  #count(): void {
    this.#deps.metrics.gauge("torpor_idle_runners", this.#seats.size);
  }
}
