import type { Clock, Closable, Timer } from "@torpor/kernel";
import type { Log, Metrics } from "@torpor/observe";
import { Remembered } from "../auth/remembered.ts";
import type { LogRow, SpanRow } from "./otlp.ts";
import type { TelemetryStore } from "./store.ts";

export interface IntakeOptions {
  readonly store: Pick<TelemetryStore, "add">;
  /** Whether a run exists, in this environment when one is given. */
  readonly runExists: (runId: string, environmentId: string | undefined) => Promise<boolean>;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

export interface Told {
  readonly spans: readonly SpanRow[];
  readonly logs: readonly LogRow[];
  /** Where the sender comes from, when it has proved it (L14). */
  readonly environmentId: string | undefined;
}

/** Rows wait this long for others to be written with. */
const FLUSH_AFTER_MS = 100;
/** More than this waits for nothing: what comes then is dropped, and counted. Telemetry must never slow a run. */
const MAX_WAITING_ROWS = 20_000;

/**
 * Takes what sandboxes tell, answers at once, and writes it in batches. What waits is lost when this process dies: telemetry
 * is worth less than the time that its sender, a task, would wait for it.
 */
export class TelemetryIntake implements Closable {
  readonly #options: IntakeOptions;
  readonly #known: Remembered<true>;
  #waiting: Told[] = [];
  #waitingRows = 0;
  #timer: Timer | undefined;
  #writing: Promise<void> = Promise.resolve();

  constructor(options: IntakeOptions) {
    this.#options = options;
    this.#known = new Remembered({ clock: options.clock, keepMs: 60_000, maxEntries: 10_000 });
  }

  /** Takes it all, or nothing when too much waits. */
  take(told: Told): "taken" | "dropped" {
    const count = told.spans.length + told.logs.length;
    if (count === 0) return "taken";
    if (this.#waitingRows + count > MAX_WAITING_ROWS) {
      this.#options.metrics.count("torpor_platform_telemetry_dropped_total", { reason: "busy" }, count);
      return "dropped";
    }
    this.#waiting.push(told);
    this.#waitingRows += count;
    this.#timer ??= this.#options.clock.after(FLUSH_AFTER_MS, () => void this.flush());
    return "taken";
  }

  /** Writes what waits. One batch at a time: what comes meanwhile makes the next one larger, not the database busier. */
  flush(): Promise<void> {
    this.#writing = this.#writing.then(() => this.#write());
    return this.#writing;
  }

  async close(): Promise<void> {
    this.#timer?.cancel();
    await this.flush();
  }

  async #write(): Promise<void> {
    this.#timer?.cancel();
    this.#timer = undefined;
    const batch = this.#waiting;
    this.#waiting = [];
    this.#waitingRows = 0;
    if (batch.length === 0) return;
    try {
      const spans: SpanRow[] = [];
      const logs: LogRow[] = [];
      for (const told of batch) {
        spans.push(...(await this.#ofKnownRuns(told.spans, told.environmentId)));
        logs.push(...(await this.#ofKnownRuns(told.logs, told.environmentId)));
      }
      if (spans.length + logs.length > 0) await this.#options.store.add(spans, logs, new Date(this.#options.clock.nowMs()));
    } catch (error) {
      this.#options.metrics.count("torpor_platform_telemetry_dropped_total", { reason: "failed" }, batch.length);
      this.#options.log.warn({ err: error }, "telemetry could not be stored and was dropped");
    }
  }

  async #ofKnownRuns<Row extends { readonly runId: string }>(rows: readonly Row[], environmentId: string | undefined): Promise<Row[]> {
    const known = new Set<string>();
    for (const runId of new Set(rows.map((row) => row.runId))) {
      const exists = await this.#known.get(`${environmentId ?? ""} ${runId}`, async () =>
        (await this.#options.runExists(runId, environmentId)) ? true : null,
      );
      if (exists === true) known.add(runId);
    }
    const kept = rows.filter((row) => known.has(row.runId));
    if (kept.length < rows.length)
      this.#options.metrics.count("torpor_platform_telemetry_dropped_total", { reason: "unknown_run" }, rows.length - kept.length);
    return kept;
  }
}
