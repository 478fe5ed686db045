// Tells the platform that this node is there.
import { backoffMs, sleep, type Clock } from "@torpor/kernel";
import type { Log } from "@torpor/observe";
import type { Platform } from "../platform/platform.ts";

const BACKOFF = { baseMs: 250, factor: 2, maxMs: 5_000 };

export interface PresenceDeps {
  readonly platform: Platform;
  readonly instanceName: string;
  readonly heartbeatMs: number;
  readonly runIds: () => string[];
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Log;
  readonly stop: AbortSignal;
}

export class Presence {
  readonly #deps: PresenceDeps;

  constructor(deps: PresenceDeps) {
    this.#deps = deps;
  }

  /** Connects, however long it takes. Throws when the platform knows us not: that does not mend itself. */
  async connect(): Promise<void> {
    const { platform, instanceName, clock, random, log, stop } = this.#deps;
    for (let attempt = 1; !stop.aborted; attempt++) {
      const outcome = await platform.connect({ instanceName, product: "torpor" }, stop);
      if (outcome.kind === "ok") return log.info({ workerGroup: outcome.body.workerGroup.name }, "connected to the platform");
      if (outcome.kind === "refused" && (outcome.status === 401 || outcome.status === 403)) {
        throw new Error(`Cannot connect to the platform: it refuses TRIGGER_WORKER_TOKEN or MANAGED_WORKER_SECRET (${outcome.message})`);
      }
      if (!stop.aborted) log.warn({ error: outcome.message }, "the platform cannot be reached yet");
      await sleep(clock, backoffMs(attempt, { ...BACKOFF, random }), stop);
    }
  }

  /** Says so every now and then, until stopped. */
  async beat(): Promise<void> {
    const { platform, heartbeatMs, runIds, clock, log, stop } = this.#deps;
    while ((await sleep(clock, heartbeatMs, stop)) === "slept") {
      const outcome = await platform.heartbeat({ tasks: runIds().slice(0, 10_000) }, stop);
      if (outcome.kind !== "ok" && !stop.aborted) log.warn({ error: outcome.message }, "a heartbeat did not reach the platform");
    }
  }
}
