import type { InstanceEvent } from "@torpor/contracts";
import { backoffMs, sleep, type Clock, type Closable } from "@torpor/kernel";
import type { Log } from "@torpor/observe";
import type { Gateway } from "./gateway.ts";

const BACKOFF = { baseMs: 200, factor: 2, maxMs: 5_000 };

export interface GatewayEventsDeps {
  readonly gateway: Gateway;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Log;
  readonly onEvent: (event: InstanceEvent) => void;
  /** The gateway was away: what happened meanwhile must be found by looking. */
  readonly onGap: () => void;
}

/** Hears what happens to sandboxes without being asked for. Events may be told twice after a restart of either side. */
export class GatewayEvents implements Closable {
  readonly #deps: GatewayEventsDeps;
  readonly #stop = new AbortController();
  #loop: Promise<void> = Promise.resolve();

  constructor(deps: GatewayEventsDeps) {
    this.#deps = deps;
  }

  start(): void {
    this.#loop = this.#run();
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.#loop;
  }

  async #run(): Promise<void> {
    const { gateway, clock, log, random } = this.#deps;
    let after = 0;
    let failures = 0;
    while (!this.#stop.signal.aborted) {
      const outcome = await gateway.events(after, this.#stop.signal);
      if (outcome.kind === "ok") {
        if (failures > 0) this.#deps.onGap();
        failures = 0;
        for (const event of outcome.body.events) this.#deps.onEvent(event);
        after = outcome.body.next;
        continue;
      }
      if (this.#stop.signal.aborted) return;
      if (outcome.kind === "refused" && outcome.status === 404)
        return log.info({}, "the gateway tells no events: a runner's end is found by the platform's time-outs");
      failures++;
      await sleep(clock, backoffMs(failures, { ...BACKOFF, random }), this.#stop.signal);
    }
  }
}
