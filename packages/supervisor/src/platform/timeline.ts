import type { TimelineEvent } from "@torpor/contracts";
import type { Clock, Closable, Timer } from "@torpor/kernel";
import type { Log, Metrics } from "@torpor/observe";
import { isMissingRoute, isPassing, type Platform } from "./platform.ts";

/** Lines wait this long for others of the same run: a freeze tells four within 200 ms. */
const BATCH_MS = 200;
const MAX_BATCH = 100;
/** Lines kept while the platform cannot be reached. They are for people to read: beyond this the oldest go. */
const MAX_WAITING = 2_000;
const RETRY_MS = 5_000;

/** Tells the platform what this node does with runs, in batches. Never fails and never holds anything up: lines may be lost, and are counted. */
export class Timeline implements Closable {
  readonly #deps: { readonly platform: Platform; readonly clock: Clock; readonly log: Log; readonly metrics: Metrics };
  readonly #waiting: { readonly runId: string; readonly event: TimelineEvent }[] = [];
  #timer: Timer | null = null;
  #sending: Promise<void> | null = null;
  #supported = true;
  #closed = false;

  constructor(deps: { readonly platform: Platform; readonly clock: Clock; readonly log: Log; readonly metrics: Metrics }) {
    this.#deps = deps;
  }

  /** Adds a line to the run's timeline. */
  add(runId: string, event: Omit<TimelineEvent, "at">): void {
    if (!this.#supported || this.#closed) return;
    this.#waiting.push({ runId, event: { ...event, at: new Date(this.#deps.clock.nowMs()) } });
    if (this.#waiting.length > MAX_WAITING) {
      this.#waiting.shift();
      this.#deps.metrics.count("torpor_timeline_lost_total");
    }
    this.#schedule(BATCH_MS);
  }

  /** Sends what waits, once. */
  async close(): Promise<void> {
    this.#timer?.cancel();
    await this.#sending;
    await this.#flush();
    this.#closed = true;
  }

  #schedule(delayMs: number): void {
    if (this.#timer !== null || this.#sending !== null || this.#closed) return;
    this.#timer = this.#deps.clock.after(delayMs, () => {
      this.#timer = null;
      this.#sending = this.#flush().then((delivered) => {
        this.#sending = null;
        if (this.#waiting.length > 0) this.#schedule(delivered ? BATCH_MS : RETRY_MS);
      });
    });
  }

  /** Sends all that waits, run by run; false when the platform could not be asked, and the rest waits on. */
  async #flush(): Promise<boolean> {
    const runs = [...byRun(this.#waiting.splice(0))].flatMap(([runId, events]) =>
      chunks(events, MAX_BATCH).map((batch) => ({ runId, batch })),
    );
    for (const [index, { runId, batch }] of runs.entries()) {
      const outcome = await this.#deps.platform.timeline(runId, batch);
      if (isMissingRoute(outcome)) return this.#giveUp();
      if (isPassing(outcome)) {
        this.#waiting.unshift(...runs.slice(index).flatMap((rest) => rest.batch.map((event) => ({ runId: rest.runId, event }))));
        return false;
      }
    }
    return true;
  }

  #giveUp(): boolean {
    this.#supported = false;
    this.#waiting.length = 0;
    this.#deps.log.info({}, "the platform keeps no timelines: what happens to runs here is told in this log alone");
    return true;
  }
}

function byRun(lines: readonly { readonly runId: string; readonly event: TimelineEvent }[]): Map<string, TimelineEvent[]> {
  const runs = new Map<string, TimelineEvent[]>();
  for (const { runId, event } of lines) {
    const events = runs.get(runId);
    if (events === undefined) runs.set(runId, [event]);
    else events.push(event);
  }
  return runs;
}

function chunks<T>(items: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, index) => items.slice(index * size, (index + 1) * size));
}

/** What a gateway says of the time that its steps took, for a line: to the millisecond. */
export function wholeMs(timing: Readonly<Record<string, number>> = {}): Record<string, number> {
  return Object.fromEntries(Object.entries(timing).map(([step, ms]) => [step, Math.round(ms)]));
}
