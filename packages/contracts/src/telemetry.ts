import { z } from "zod";
import { route } from "./route.ts";
import { WireDate } from "./run.ts";

// Where sandboxes send what they measure (OTLP over HTTP, as JSON), and where it is read again.

/** Proof of the environment that a sandbox belongs to; the platform gives it to each attempt. Absent from foreign senders. */
export const TELEMETRY_HEADER = "x-torpor-telemetry";

const Raw = z.instanceof(Buffer);
const Answered = z.looseObject({});
/** The SDK sends at most 512 spans of at most some KiB at once; larger bodies are a fault or an attack. */
const OTLP_LIMIT_BYTES = 4 * 1024 * 1024;

const RunIdParams = z.object({ runId: z.string().max(128) });

/** A span or a log line of a run, as it is kept. */
export const LogLine = z.object({
  at: WireDate,
  level: z.enum(["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"]),
  message: z.string(),
  attemptNumber: z.number().optional(),
  spanId: z.string().optional(),
  properties: z.record(z.string(), z.unknown()).optional(),
});
export type LogLine = z.infer<typeof LogLine>;

export interface TraceSpan {
  id: string;
  parentId?: string | undefined;
  runId: string;
  data: {
    message: string;
    taskSlug?: string | undefined;
    startTime: Date;
    duration: number;
    isError: boolean;
    isPartial: boolean;
    isCancelled: boolean;
    level: string;
    queueName?: string | undefined;
    machinePreset?: string | undefined;
    properties?: Record<string, unknown> | undefined;
    events?: unknown[] | undefined;
  };
  children: TraceSpan[];
}

const TraceSpanSchema: z.ZodType<TraceSpan> = z.object({
  id: z.string(),
  parentId: z.string().optional(),
  runId: z.string(),
  data: z.object({
    message: z.string(),
    taskSlug: z.string().optional(),
    startTime: WireDate,
    /** Milliseconds. */
    duration: z.number(),
    isError: z.boolean(),
    isPartial: z.boolean(),
    isCancelled: z.boolean(),
    level: z.string(),
    queueName: z.string().optional(),
    machinePreset: z.string().optional(),
    properties: z.record(z.string(), z.unknown()).optional(),
    events: z.array(z.unknown()).optional(),
  }),
  get children() {
    return z.array(TraceSpanSchema);
  },
});

export const telemetry = {
  traces: route("POST", "/otel/v1/traces", { auth: "none", body: Raw, bodyKind: "raw", reply: Answered, bodyLimitBytes: OTLP_LIMIT_BYTES }),
  logs: route("POST", "/otel/v1/logs", { auth: "none", body: Raw, bodyKind: "raw", reply: Answered, bodyLimitBytes: OTLP_LIMIT_BYTES }),
  /** Taken and dropped: no one reads them yet. */
  metrics: route("POST", "/otel/v1/metrics", {
    auth: "none",
    body: Raw,
    bodyKind: "raw",
    reply: Answered,
    bodyLimitBytes: OTLP_LIMIT_BYTES,
  }),
  /** The spans of a run as a tree below one root that stands for the run itself. */
  runTrace: route("GET", "/api/v1/runs/:runId/trace", {
    auth: "environment_or_public",
    params: RunIdParams,
    reply: z.object({ trace: z.object({ traceId: z.string(), rootSpan: TraceSpanSchema }) }),
  }),
  /** Ours: what the task logged, oldest first; `after` is the `next` of the page before. */
  runLogs: route("GET", "/api/v1/runs/:runId/logs", {
    auth: "environment_or_public",
    params: RunIdParams,
    query: z.object({
      after: z
        .string()
        .regex(/^\d{1,18}$/, "must be the `next` of a page")
        .optional(),
      limit: z.coerce.number().int().min(1).max(1000).default(200),
    }),
    reply: z.object({ logs: z.array(LogLine), next: z.string().nullable() }),
  }),
} as const;
