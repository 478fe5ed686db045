import type { TorporError } from "@torpor/contracts";
import { describe, expect, it } from "vitest";
import { parseLogs, parseTraces } from "./otlp.ts";

const NOW = new Date(Date.UTC(2026, 0, 1));
const text = (key: string, stringValue: string) => ({ key, value: { stringValue } });
const ofRun = [text("$metadata.ctx.run.id", "run_abc"), { key: "$metadata.ctx.attempt.number", value: { intValue: "2" } }];
const span = {
  traceId: "a".repeat(32),
  spanId: "1".repeat(16),
  name: "run()",
  startTimeUnixNano: "1767225600000000000",
  endTimeUnixNano: "1767225600250000000",
};
const traces = (spans: unknown[], attributes: unknown[] = []) => ({
  resourceSpans: [{ resource: { attributes }, scopeSpans: [{ spans }] }],
});
const logs = (logRecords: unknown[]) => ({ resourceLogs: [{ scopeLogs: [{ logRecords }] }] });

describe("spans and logs as sandboxes send them", () => {
  it("drops and counts what belongs to no run, or to something that is no run's id", () => {
    const parsed = parseTraces(
      traces([
        { ...span, attributes: [] },
        { ...span, attributes: [text("ctx.run.id", "run_../x")] },
      ]),
      NOW,
    );
    expect(parsed).toEqual({ rows: [], dropped: 2 });
  });

  it("names the field that has a wrong type", () => {
    expect(() => parseTraces({ resourceSpans: [{ scopeSpans: [{ spans: [{ ...span, name: 5 }] }] }] }, NOW)).toThrow(
      expect.objectContaining({
        code: "request_invalid",
        param: "resourceSpans[0].scopeSpans[0].spans[0].name",
      } satisfies Partial<TorporError>),
    );
  });

  it("keeps a span without what is known of its run anyway", () => {
    const attributes = [...ofRun, text("mine", "yes")];
    expect(parseTraces(traces([{ ...span, attributes, status: { code: 2 } }]), NOW).rows).toEqual([
      {
        runId: "run_abc",
        spanId: span.spanId,
        parentId: null,
        traceId: span.traceId,
        name: "run()",
        startedAt: new Date(1_767_225_600_000),
        durationMs: 250,
        isError: true,
        isPartial: false,
        attemptNumber: 2,
        properties: '{"mine":"yes"}',
        events: "[]",
      },
    ]);
  });

  it("gives the beginning of a span the id of the whole", () => {
    const attributes = [...ofRun, { key: "$span.partial", value: { boolValue: true } }, text("$span.span_id", "2".repeat(16))];
    expect(parseTraces(traces([{ ...span, attributes }]), NOW).rows).toMatchObject([
      { spanId: "2".repeat(16), isPartial: true, durationMs: 0 },
    ]);
  });

  it("finds the run in the resource too", () => {
    expect(parseTraces(traces([span], [text("ctx.run.id", "run_abc")]), NOW).rows).toMatchObject([{ runId: "run_abc" }]);
  });

  it("drops a value that the database could not hold, and cuts one that is too large", () => {
    const record = {
      timeUnixNano: "1767225600000000000",
      severityNumber: 17,
      body: { stringValue: `nul\0 half\ud800 ${"x".repeat(20_000)}` },
      attributes: [...ofRun, text("big", "y".repeat(20_000))],
    };
    const [row] = parseLogs(logs([record]), NOW).rows;
    expect(row).toMatchObject({ level: "ERROR", properties: "{}" });
    expect(row?.message).toMatch(/^nul half\ufffd x+$/);
    expect(row?.message).toHaveLength(16 * 1024);
  });

  it("reads a log whose body is not text as JSON", () => {
    const body = { kvlistValue: { values: [text("a", "b"), { key: "n", value: { arrayValue: { values: [{ intValue: 1 }] } } }] } };
    expect(parseLogs(logs([{ body, attributes: ofRun }]), NOW).rows).toMatchObject([
      { message: '{"a":"b","n":[1]}', level: "INFO", at: NOW },
    ]);
  });
});
