import type { LogLine } from "@torpor/contracts";
import type { PlatformDatabase } from "../database.ts";
import { given } from "../given.ts";
import type { LogRow, SpanRow } from "./otlp.ts";

export interface TelemetryLimits {
  readonly maxSpansPerRun: number;
  readonly maxLogsPerRun: number;
}

export interface StoredSpan {
  readonly span_id: string;
  readonly parent_id: string | null;
  readonly trace_id: string;
  readonly name: string;
  readonly started_at: Date;
  readonly duration_ms: number;
  readonly is_error: boolean;
  readonly is_partial: boolean;
  readonly attempt_number: number | null;
  readonly properties: Record<string, unknown>;
  readonly events: unknown[];
}

/** Runs whose telemetry is deleted in one statement: bounds how long it takes. */
const PRUNED_AT_ONCE = 200;

/** Spans and logs of runs in PostgreSQL: bounded per run, deleted when old. */
export class TelemetryStore {
  readonly #database: PlatformDatabase;
  readonly #limits: TelemetryLimits;

  constructor(database: PlatformDatabase, limits: TelemetryLimits) {
    this.#database = database;
    this.#limits = limits;
  }

  /** Stores rows, all or nothing. What is over a run's limit is left out. Told again, a span replaces the one told at its start. */
  async add(spans: readonly SpanRow[], logs: readonly LogRow[], now: Date): Promise<void> {
    const whole = wholeSpans(spans);
    const counts = countPerRun(whole, logs);
    await this.#database.transaction(async (query) => {
      // In the order of ids, so that two processes never wait for each other.
      const runIds = [...counts.keys()].sort();
      const full = await query(COUNT, [
        runIds,
        runIds.map((id) => counts.get(id)?.spans ?? 0),
        runIds.map((id) => counts.get(id)?.logs ?? 0),
        now,
      ]);
      const totals = new Map((full as { run_id: string; span_count: number; log_count: number }[]).map((row) => [row.run_id, row]));
      const keptSpans = whole.filter(({ runId }) => (totals.get(runId)?.span_count ?? 0) <= this.#limits.maxSpansPerRun);
      const keptLogs = logs.filter(({ runId }) => (totals.get(runId)?.log_count ?? 0) <= this.#limits.maxLogsPerRun);
      if (keptSpans.length > 0) await query(INSERT_SPANS, spanColumns(keptSpans));
      if (keptLogs.length > 0) await query(INSERT_LOGS, logColumns(keptLogs));
    });
  }

  spansOf(runId: string): Promise<StoredSpan[]> {
    return this.#database.query(
      "select span_id, parent_id, trace_id, name, started_at, duration_ms, is_error, is_partial, attempt_number, properties, events from telemetry_spans where run_id = $1 order by started_at, span_id limit $2",
      [runId, this.#limits.maxSpansPerRun],
    );
  }

  /** Lines after the one numbered `after`, in the order in which they came. */
  async logsOf(runId: string, after: string, limit: number): Promise<{ readonly number: string; readonly line: LogLine }[]> {
    const text =
      "select id, at, level, message, span_id, attempt_number, properties from telemetry_logs where run_id = $1 and id > $2 order by id limit $3";
    const rows = await this.#database.query<StoredLog>(text, [runId, after, limit]);
    return rows.map((row) => ({ number: row.id, line: logLine(row) }));
  }

  /** Deletes what belongs to runs that have told nothing since then. Returns how many runs that were. */
  async prune(before: Date): Promise<number> {
    for (let total = 0; ;) {
      const rows = await this.#database.query(PRUNE, [before, PRUNED_AT_ONCE]);
      total += rows.length;
      if (rows.length < PRUNED_AT_ONCE) return total;
    }
  }
}

interface StoredLog {
  readonly id: string;
  readonly at: Date;
  readonly level: LogLine["level"];
  readonly message: string;
  readonly span_id: string | null;
  readonly attempt_number: number | null;
  readonly properties: Record<string, unknown>;
}

function logLine(row: StoredLog): LogLine {
  const { at, level, message, properties } = row;
  return { at, level, message, properties, ...given({ spanId: row.span_id, attemptNumber: row.attempt_number }) };
}

const COUNT = `
insert into telemetry_runs as known (run_id, span_count, log_count, last_at)
select run_id, spans, logs, $4 from unnest($1::text[], $2::integer[], $3::integer[]) as told (run_id, spans, logs)
on conflict (run_id) do update set span_count = known.span_count + excluded.span_count, log_count = known.log_count + excluded.log_count, last_at = excluded.last_at
returning run_id, span_count, log_count`;

const INSERT_SPANS = `
insert into telemetry_spans (run_id, span_id, parent_id, trace_id, name, started_at, duration_ms, is_error, is_partial, attempt_number, properties, events)
select run_id, span_id, parent_id, trace_id, name, started_at, duration_ms, is_error, is_partial, attempt_number, properties::jsonb, events::jsonb
from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::float8[], $8::boolean[], $9::boolean[], $10::integer[], $11::text[], $12::text[])
  as told (run_id, span_id, parent_id, trace_id, name, started_at, duration_ms, is_error, is_partial, attempt_number, properties, events)
on conflict (run_id, span_id) do update set
  parent_id = excluded.parent_id, name = excluded.name, started_at = excluded.started_at, duration_ms = excluded.duration_ms,
  is_error = excluded.is_error, is_partial = excluded.is_partial, properties = excluded.properties, events = excluded.events
where telemetry_spans.is_partial`;

const INSERT_LOGS = `
insert into telemetry_logs (run_id, at, level, message, span_id, attempt_number, properties)
select run_id, at, level, message, span_id, attempt_number, properties::jsonb
from unnest($1::text[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::integer[], $7::text[])
  as told (run_id, at, level, message, span_id, attempt_number, properties)`;

const PRUNE = `
with old as (delete from telemetry_runs where run_id in (select run_id from telemetry_runs where last_at < $1 order by last_at limit $2) returning run_id),
  spans as (delete from telemetry_spans where run_id in (select run_id from old)),
  logs as (delete from telemetry_logs where run_id in (select run_id from old))
select run_id from old`;

function spanColumns(rows: readonly SpanRow[]): unknown[][] {
  const keys = [
    "runId",
    "spanId",
    "parentId",
    "traceId",
    "name",
    "startedAt",
    "durationMs",
    "isError",
    "isPartial",
    "attemptNumber",
    "properties",
    "events",
  ] as const;
  return keys.map((key) => rows.map((row) => row[key]));
}

function logColumns(rows: readonly LogRow[]): unknown[][] {
  const keys = ["runId", "at", "level", "message", "spanId", "attemptNumber", "properties"] as const;
  return keys.map((key) => rows.map((row) => row[key]));
}

/** One row per span: the whole one where its beginning came in the same batch. */
function wholeSpans(spans: readonly SpanRow[]): SpanRow[] {
  const byId = new Map<string, SpanRow>();
  for (const span of spans) {
    const id = `${span.runId} ${span.spanId}`;
    if (byId.get(id)?.isPartial !== false) byId.set(id, span);
  }
  return [...byId.values()];
}

function countPerRun(spans: readonly SpanRow[], logs: readonly LogRow[]): Map<string, { spans: number; logs: number }> {
  const counts = new Map<string, { spans: number; logs: number }>();
  const of = (runId: string): { spans: number; logs: number } => {
    const known = counts.get(runId) ?? { spans: 0, logs: 0 };
    counts.set(runId, known);
    return known;
  };
  for (const { runId } of spans) of(runId).spans++;
  for (const { runId } of logs) of(runId).logs++;
  return counts;
}
