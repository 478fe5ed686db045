// Loops that ask the platform for runs.
//
// D1  Nothing is asked for while this process drains, or while the node is full.
// D2  A run that was handed out is carried to a sandbox or given back; a loop asks for the next one only then.
// D3  An error of the platform is waited out, longer each time, up to 30 s.
import type { DequeuedMessage } from "@torpor/contracts";
import { backoffMs, sleep, type Clock } from "@torpor/kernel";
import type { Log, Metrics } from "@torpor/observe";
import type { SupervisorConfig } from "../config.ts";
import type { Platform } from "../platform/platform.ts";
import type { Room } from "../runners/runner.ts";
import type { Runners } from "../runners/runners.ts";
import type { NodeRoom } from "./nodeRoom.ts";

export interface ConsumersDeps {
  readonly config: SupervisorConfig["dequeue"];
  readonly platform: Platform;
  readonly runners: Runners;
  readonly room: NodeRoom;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly launch: (message: DequeuedMessage) => Promise<void>;
}

const FULL_RECHECK_MS = 250;
const BACKOFF = { baseMs: 1_000, factor: 2, maxMs: 20_000 };
/** A platform that answers an empty queue sooner than this does not wait for runs itself. */
const SHORT_POLL_MS = 900;
/** A poll that is under way when we drain is given this long, because what it brings would be lost for a minute. */
const DRAIN_POLL_MS = 1_500;

/** What cannot be given to another run: runners that wait give way. */
function busyRoom(runners: Runners): Room {
  const placed = runners.placed();
  const idle = runners.idle();
  return { cpu: placed.cpu - idle.cpu, memoryGib: placed.memoryGib - idle.memoryGib };
}

export class Consumers {
  readonly #deps: ConsumersDeps;
  readonly #drain = new AbortController();
  readonly #cut = new AbortController();
  #loops: Promise<void>[] = [];

  constructor(deps: ConsumersDeps) {
    this.#deps = deps;
  }

  start(): void {
    if (!this.#deps.config.enabled) return;
    this.#loops = Array.from({ length: this.#deps.config.consumerCount }, () => this.#loop());
  }

  /** Asks for no more, and resolves when what was handed out has been dealt with. */
  async drain(): Promise<void> {
    this.#drain.abort();
    const timer = this.#deps.clock.after(DRAIN_POLL_MS, () => this.#cut.abort());
    await Promise.all(this.#loops);
    timer.cancel();
  }

  async #loop(): Promise<void> {
    const { clock, config, log, random, room, runners } = this.#deps;
    let failures = 0;
    while (!this.#drain.signal.aborted) {
      if (!room.canTakeAny(busyRoom(runners))) {
        await sleep(clock, FULL_RECHECK_MS, this.#drain.signal);
        continue;
      }
      const startedMs = clock.monotonicMs();
      const outcome = await this.#poll();
      if (outcome.kind === "ok") {
        failures = 0;
        for (const message of outcome.body) await this.#launch(message);
        const isIdle = outcome.body.length === 0 && clock.monotonicMs() - startedMs < SHORT_POLL_MS;
        const pauseMs = isIdle ? config.idleIntervalMs : outcome.body.length === 0 ? 0 : config.intervalMs;
        if (pauseMs > 0) await sleep(clock, pauseMs, this.#drain.signal);
        continue;
      }
      if (this.#drain.signal.aborted) return;
      failures++;
      const delayMs = backoffMs(failures, { ...BACKOFF, random });
      log.warn({ error: outcome.message, delayMs: Math.round(delayMs) }, "the platform could not be asked for a run");
      await sleep(clock, delayMs, this.#drain.signal);
    }
  }

  #poll() {
    const { config, platform, room, runners } = this.#deps;
    const { free, isEmpty } = room.view(busyRoom(runners));
    // An empty node tries whatever comes: a run that is larger than every node would wait for ever.
    const maxResources = !isEmpty && Number.isFinite(free.cpu) ? { maxResources: { cpu: free.cpu, memory: free.memoryGib } } : {};
    const body = { ...maxResources, queueClass: config.queueClass };
    return platform.dequeue(body, { timeoutMs: config.timeoutMs, signal: this.#cut.signal });
  }

  async #launch(message: DequeuedMessage): Promise<void> {
    this.#deps.metrics.count("torpor_dequeued_total");
    try {
      await this.#deps.launch(message);
    } catch (error) {
      this.#deps.log.error({ err: error, runId: message.run.friendlyId }, "a run could not be launched, unforeseen");
    }
  }
}
