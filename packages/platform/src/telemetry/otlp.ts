import { TorporError, type LogLine } from "@torpor/contracts";
import { z } from "zod";
import { AnyValue, KeyValues, attributesOf, storable, valueOf, type Attributes } from "./attributes.ts";

// OTLP over HTTP as JSON, turned into rows. What belongs to no run is counted and dropped.

export interface SpanRow {
  readonly runId: string;
  readonly spanId: string;
  readonly parentId: string | null;
  readonly traceId: string;
  readonly name: string;
  readonly startedAt: Date;
  readonly durationMs: number;
  readonly isError: boolean;
  /** Told at its start; the whole one follows under the same id. */
  readonly isPartial: boolean;
  readonly attemptNumber: number | null;
  readonly properties: string;
  readonly events: string;
}

export interface LogRow {
  readonly runId: string;
  readonly at: Date;
  readonly level: LogLine["level"];
  readonly message: string;
  readonly spanId: string | null;
  readonly attemptNumber: number | null;
  readonly properties: string;
}

export interface Parsed<Row> {
  readonly rows: readonly Row[];
  /** Without a run, or more than one request may bring. */
  readonly dropped: number;
}

const MAX_ROWS = 5000;
const MAX_NAME = 512;
const MAX_MESSAGE = 16 * 1024;
const MAX_JSON = 16 * 1024;
const MAX_EVENTS = 50;

const Nanos = z.union([z.string(), z.number()]);
const Id = z.string().max(64);
const Resource = z.object({ attributes: KeyValues }).optional();
const Span = z.object({
  traceId: Id,
  spanId: Id,
  parentSpanId: Id.nullish(),
  name: z.string(),
  startTimeUnixNano: Nanos,
  endTimeUnixNano: Nanos.optional(),
  attributes: KeyValues,
  events: z.array(z.object({ name: z.string(), timeUnixNano: Nanos.optional(), attributes: KeyValues })).default([]),
  status: z.object({ code: z.union([z.number(), z.string()]).optional() }).optional(),
});
const Traces = z.object({
  resourceSpans: z
    .array(z.object({ resource: Resource, scopeSpans: z.array(z.object({ spans: z.array(Span).default([]) })).default([]) }))
    .default([]),
});
const LogRecord = z.object({
  timeUnixNano: Nanos.optional(),
  observedTimeUnixNano: Nanos.optional(),
  severityNumber: z.number().optional(),
  body: AnyValue.optional(),
  attributes: KeyValues,
  spanId: Id.nullish(),
});
const Logs = z.object({
  resourceLogs: z
    .array(z.object({ resource: Resource, scopeLogs: z.array(z.object({ logRecords: z.array(LogRecord).default([]) })).default([]) }))
    .default([]),
});

export function parseTraces(body: unknown, now: Date): Parsed<SpanRow> {
  const { resourceSpans } = validOtlp(Traces, body);
  return rowsOf(
    resourceSpans.flatMap(({ resource, scopeSpans }) =>
      scopeSpans.flatMap(({ spans }) => spans.map((span) => spanRow(span, attributesOf(resource?.attributes ?? []), now))),
    ),
  );
}

export function parseLogs(body: unknown, now: Date): Parsed<LogRow> {
  const { resourceLogs } = validOtlp(Logs, body);
  return rowsOf(
    resourceLogs.flatMap(({ resource, scopeLogs }) =>
      scopeLogs.flatMap(({ logRecords }) => logRecords.map((record) => logRow(record, attributesOf(resource?.attributes ?? []), now))),
    ),
  );
}

function validOtlp<T>(schema: z.ZodType<T>, body: unknown): T {
  const parsed = schema.safeParse(body);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const param = issue === undefined || issue.path.length === 0 ? "body" : z.core.toDotPath(issue.path);
  throw new TorporError("request_invalid", `Cannot use body: ${param}: ${issue?.message ?? "is not valid"}`, { param });
}

function rowsOf<Row>(all: readonly (Row | null)[]): Parsed<Row> {
  const rows = all.filter((row): row is NonNullable<typeof row> => row !== null).slice(0, MAX_ROWS) as Row[];
  return { rows, dropped: all.length - rows.length };
}

function spanRow(span: z.infer<typeof Span>, resource: Attributes, now: Date): SpanRow | null {
  const attributes = attributesOf(span.attributes);
  const runId = runIdOf(attributes, resource);
  if (runId === undefined) return null;
  const startedMs = millis(span.startTimeUnixNano) ?? now.getTime();
  const endedMs = millis(span.endTimeUnixNano) ?? startedMs;
  const isPartial = attributes["$span.partial"] === true;
  const wholeId = attributes["$span.span_id"];
  return {
    runId,
    spanId: isPartial && typeof wholeId === "string" ? wholeId.slice(0, 64) : span.spanId,
    parentId: idOrNull(span.parentSpanId),
    traceId: span.traceId,
    name: storable(span.name).slice(0, MAX_NAME),
    startedAt: new Date(startedMs),
    durationMs: isPartial ? 0 : Math.max(0, endedMs - startedMs),
    isError: span.status?.code === 2 || span.status?.code === "STATUS_CODE_ERROR",
    isPartial,
    attemptNumber: attemptOf(attributes, resource),
    properties: boundedJson(ownProperties(attributes), "{}"),
    events: boundedJson(
      span.events.slice(0, MAX_EVENTS).map((event) => ({
        name: storable(event.name),
        time: new Date(millis(event.timeUnixNano) ?? startedMs),
        properties: attributesOf(event.attributes),
      })),
      "[]",
    ),
  };
}

function logRow(record: z.infer<typeof LogRecord>, resource: Attributes, now: Date): LogRow | null {
  const attributes = attributesOf(record.attributes);
  const runId = runIdOf(attributes, resource);
  if (runId === undefined) return null;
  const body = valueOf(record.body);
  return {
    runId,
    at: new Date(millis(record.timeUnixNano) ?? millis(record.observedTimeUnixNano) ?? now.getTime()),
    level: levelOf(record.severityNumber),
    message: (typeof body === "string" ? body : JSON.stringify(body)).slice(0, MAX_MESSAGE).toWellFormed(),
    spanId: idOrNull(record.spanId),
    attemptNumber: attemptOf(attributes, resource),
    properties: boundedJson(ownProperties(attributes), "{}"),
  };
}

/** The SDK marks what it knows of the run with this prefix on spans and logs. */
const CONTEXT_PREFIX = "$metadata.";

function contextOf(key: string, attributes: Attributes, resource: Attributes): unknown {
  return attributes[CONTEXT_PREFIX + key] ?? attributes[key] ?? resource[key];
}

function runIdOf(attributes: Attributes, resource: Attributes): string | undefined {
  const runId = contextOf("ctx.run.id", attributes, resource);
  return typeof runId === "string" && /^run_[0-9A-Za-z]{1,100}$/.test(runId) ? runId : undefined;
}

function attemptOf(attributes: Attributes, resource: Attributes): number | null {
  const attempt = contextOf("ctx.attempt.number", attributes, resource);
  return typeof attempt === "number" && Number.isInteger(attempt) && Math.abs(attempt) < 2 ** 31 ? attempt : null;
}

/** What is known of the run anyway is not stored again with each span. */
function ownProperties(attributes: Attributes): Attributes {
  return Object.fromEntries(
    Object.entries(attributes).filter(([key]) => !key.startsWith(CONTEXT_PREFIX) && !key.startsWith("ctx.") && !key.startsWith("$span.")),
  );
}

/** No id is written as nothing, as null or as an empty text. */
function idOrNull(id: string | null | undefined): string | null {
  return id === undefined || id === "" ? null : id;
}

function boundedJson(value: unknown, instead: string): string {
  const text = JSON.stringify(value);
  return text.length > MAX_JSON ? instead : text;
}

/** 24 bits of nanoseconds are lost in a number; milliseconds are what is kept. */
function millis(nanos: string | number | undefined): number | undefined {
  const ms = Math.round((Number(nanos) / 1e6) * 1000) / 1000;
  return Number.isFinite(ms) && ms > 0 && ms < Date.UTC(9999, 0) ? ms : undefined;
}

function levelOf(severity: number | undefined): LogLine["level"] {
  const levels: LogLine["level"][] = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];
  return severity === undefined || severity < 1 ? "INFO" : (levels[Math.min(5, Math.floor((severity - 1) / 4))] ?? "INFO");
}
