// A runner's long poll at the broker, made for it by its supervisor.
//
// The next request begins before the last one ends, and the broker knows a runner by its newest request alone: so the runner is
// registered without a gap for as long as it waits.
import { WARM_START_HEADERS, warmStart, type DequeuedMessage, type HandOverOutcome } from "@torpor/contracts";
import type { Clock } from "@torpor/kernel";
import type { Log } from "@torpor/observe";
import type { RouteCaller } from "../callers.ts";

/** What the broker matches runs by. */
export interface WaitingAs {
  /** The broker's word for who waits. */
  readonly controllerId: string;
  readonly deploymentId: string;
  readonly version: string;
  readonly cpu: number;
  readonly memoryGib: number;
}

export interface WarmRelayDeps {
  readonly broker: RouteCaller;
  readonly instanceName: string;
  readonly clock: Clock;
  readonly log: Log;
}

/** How long before the end of a request the next one begins: well before the broker stops to offer the old one. */
const RENEW_BEFORE_MS = 2_000;
/** What a broker that cannot be asked allows its polls, for certain. */
const SHORT_POLL_MS = 10_000;
/** A broker that is away or full is asked again after this. */
const RETRY_MS = 1_000;
const SETTLE_TIMEOUT_MS = 2_000;

export class WarmRelay {
  readonly #deps: WarmRelayDeps;
  #pollMs: Promise<number> | undefined;

  constructor(deps: WarmRelayDeps) {
    this.#deps = deps;
  }

  /** Waits for a run that the broker gives to this runner. Undefined: `signal` came first, and the runner is not registered any more. */
  async wait(who: WaitingAs, signal: AbortSignal): Promise<DequeuedMessage | undefined> {
    const pollMs = await (this.#pollMs ??= this.#askPollMs());
    if (signal.aborted) return undefined;
    const over = new AbortController();
    const stop = AbortSignal.any([signal, over.signal]);
    return await new Promise((resolve) => {
      let taken = false;
      const onRun = (message: DequeuedMessage): void => {
        if (taken) return void this.settle(who.controllerId, message.run.friendlyId, "refused"); // given to an older request, at the same moment
        taken = true;
        over.abort();
        resolve(message);
      };
      signal.addEventListener("abort", () => resolve(undefined), { once: true });
      this.#poll(who, { pollMs, stop, onRun });
    });
  }

  /** Tells the broker what became of a run that it gave. */
  async settle(controllerId: string, runId: string, outcome: HandOverOutcome): Promise<void> {
    const body = { controllerId, runId, outcome };
    const told = await this.#deps.broker.call(warmStart.settle, { body, timeoutMs: SETTLE_TIMEOUT_MS });
    // A broker of the shared protocol alone has no such route, and waits for no such word.
    if (told.kind === "unreachable") this.#deps.log.warn({ runId, outcome, error: told.message }, "the broker could not be told");
  }

  #poll(
    who: WaitingAs,
    poll: { readonly pollMs: number; readonly stop: AbortSignal; readonly onRun: (message: DequeuedMessage) => void },
  ): void {
    if (poll.stop.aborted) return;
    const { broker, clock } = this.#deps;
    let isNewest = true;
    const again = (): void => {
      if (!isNewest) return;
      isNewest = false;
      this.#poll(who, poll);
    };
    const renewal = clock.after(poll.pollMs - RENEW_BEFORE_MS, again);
    poll.stop.addEventListener("abort", () => renewal.cancel(), { once: true });
    const asked = broker.call(warmStart.poll, { headers: this.#headers(who), timeoutMs: poll.pollMs, signal: poll.stop });
    void asked.then((outcome) => {
      if (outcome.kind === "ok") return poll.onRun(outcome.body);
      renewal.cancel();
      if (isNewest && !poll.stop.aborted) clock.after(RETRY_MS, again);
    });
  }

  #headers(who: WaitingAs): Record<string, string> {
    return {
      [WARM_START_HEADERS.controllerId]: who.controllerId,
      [WARM_START_HEADERS.deploymentId]: who.deploymentId,
      [WARM_START_HEADERS.deploymentVersion]: who.version,
      [WARM_START_HEADERS.machineCpu]: String(who.cpu),
      [WARM_START_HEADERS.machineMemory]: String(who.memoryGib),
      [WARM_START_HEADERS.instanceName]: this.#deps.instanceName,
      [WARM_START_HEADERS.settles]: "true",
    };
  }

  async #askPollMs(): Promise<number> {
    const outcome = await this.#deps.broker.call(warmStart.connect);
    if (outcome.kind === "ok") return Math.max(2 * RENEW_BEFORE_MS, outcome.body.connectionTimeoutMs);
    this.#pollMs = undefined; // asked again with the next poll
    return SHORT_POLL_MS;
  }
}
