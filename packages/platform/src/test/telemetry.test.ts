import { gzipSync } from "node:zlib";
import { TELEMETRY_HEADER, telemetry } from "@torpor/contracts";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { deployNap, dequeueAndStart, eventually, ok, startTestPlatform, trigger, type TestPlatform } from "./harness.ts";

let platform: TestPlatform;

beforeAll(async () => {
  platform = await startTestPlatform({ env: { TORPOR_MAX_LOGS_PER_RUN: "20" } });
  await deployNap(platform);
});
afterAll(() => platform.close());

const text = (key: string, stringValue: string) => ({ key, value: { stringValue } });
const TRACE_ID = "a".repeat(32);

function span(runId: string, spanId: string, more: Record<string, unknown> = {}) {
  return {
    traceId: TRACE_ID,
    spanId,
    name: `span ${spanId}`,
    startTimeUnixNano: "1767225600000000000",
    endTimeUnixNano: "1767225601000000000",
    attributes: [text("ctx.run.id", runId)],
    ...more,
  };
}
const traces = (...spans: unknown[]) => ({ resourceSpans: [{ resource: { attributes: [] }, scopeSpans: [{ spans }] }] });
const logs = (...logRecords: unknown[]) => ({ resourceLogs: [{ resource: { attributes: [] }, scopeLogs: [{ logRecords }] }] });
const log = (runId: string, message: string) => ({
  timeUnixNano: "1767225600000000000",
  severityNumber: 9,
  body: { stringValue: message },
  attributes: [text("ctx.run.id", runId)],
});

const send = (path: string, body: unknown, headers: Record<string, string> = {}) =>
  platform.request("POST", path, { body, headers, key: null });
const logsOf = async (runId: string) =>
  ok(await platform.sdk.call(telemetry.runLogs, { params: { runId }, query: { limit: 100 } })).logs.map(({ message }) => message);
const rootOf = async (runId: string) => ok(await platform.sdk.call(telemetry.runTrace, { params: { runId } })).trace.rootSpan;

describe("the telemetry sink", () => {
  it("keeps spans as a tree below the run, and the whole of a span in the place of its beginning", async () => {
    const runId = await trigger(platform);
    const beginning = span(runId, "9999999999999999", {
      attributes: [
        text("ctx.run.id", runId),
        { key: "$span.partial", value: { boolValue: true } },
        text("$span.span_id", "1111111111111111"),
      ],
    });
    expect(await send("/otel/v1/traces", traces(beginning))).toMatchObject({ status: 200, json: {} });
    await eventually("the beginning", async () => ((await rootOf(runId)).children[0]?.data.isPartial === true ? true : undefined));
    await send(
      "/otel/v1/traces",
      traces(span(runId, "1111111111111111"), span(runId, "2222222222222222", { parentSpanId: "1111111111111111", status: { code: 2 } })),
    );
    const root = await eventually("the whole", async () =>
      (await rootOf(runId)).children[0]?.data.isPartial === false ? rootOf(runId) : undefined,
    );
    expect(root).toMatchObject({
      id: runId,
      data: { message: "nap", isPartial: true },
      children: [
        {
          id: "1111111111111111",
          data: { duration: 1000, isError: false },
          children: [{ id: "2222222222222222", data: { isError: true } }],
        },
      ],
    });
  });

  it("keeps what a task logs, page by page", async () => {
    const runId = await trigger(platform);
    await send("/otel/v1/logs", logs(log(runId, "one"), log(runId, "two"), log(runId, "three")));
    await eventually("the logs", async () => ((await logsOf(runId)).length === 3 ? true : undefined));
    const first = ok(await platform.sdk.call(telemetry.runLogs, { params: { runId }, query: { limit: 2 } }));
    const second = ok(
      await platform.sdk.call(telemetry.runLogs, {
        params: { runId },
        query: { limit: 2, ...(first.next === null ? {} : { after: first.next }) },
      }),
    );
    expect([...first.logs, ...second.logs].map(({ message }) => message)).toEqual(["one", "two", "three"]);
    expect(second.next).toBeNull();
  });

  it("reads what is compressed, and answers 415 to what is not JSON", async () => {
    const runId = await trigger(platform);
    const response = await fetch(`${platform.url}/otel/v1/logs`, {
      method: "POST",
      body: gzipSync(JSON.stringify(logs(log(runId, "small")))),
      headers: { "content-encoding": "gzip", "content-type": "application/json" },
    });
    expect(response.status).toBe(200);
    await eventually("the log", async () => ((await logsOf(runId)).includes("small") ? true : undefined));
    expect((await send("/otel/v1/traces", "binary", { "content-type": "application/x-protobuf" })).status).toBe(415);
    expect((await send("/otel/v1/metrics", { resourceMetrics: [] })).json).toEqual({});
  });

  it("answers 400 to what is broken and 413 to what is too large, compressed or not", async () => {
    expect((await send("/otel/v1/logs", "{")).status).toBe(400);
    expect(await send("/otel/v1/logs", { resourceLogs: "none" })).toMatchObject({ status: 400, json: { param: "resourceLogs" } });
    expect((await send("/otel/v1/logs", JSON.stringify("x".repeat(5_000_000)))).status).toBe(413);
    const bomb = await fetch(`${platform.url}/otel/v1/logs`, {
      method: "POST",
      body: gzipSync(JSON.stringify("x".repeat(20_000_000))),
      headers: { "content-encoding": "gzip" },
    });
    expect(bomb.status).toBe(413);
  });

  it("keeps nothing of a run that does not exist, and no more of one than it may have", async () => {
    const runId = await trigger(platform);
    await send("/otel/v1/logs", logs(log("run_doesnotexist", "lost"), ...Array.from({ length: 15 }, (_, at) => log(runId, `first ${at}`))));
    await eventually("the first logs", async () => ((await logsOf(runId)).length === 15 ? true : undefined));
    await send("/otel/v1/logs", logs(...Array.from({ length: 15 }, (_, at) => log(runId, `second ${at}`))));
    const next = await trigger(platform);
    await send("/otel/v1/logs", logs(log(next, "after")));
    await eventually("what came after", async () => ((await logsOf(next)).length === 1 ? true : undefined));
    expect(await logsOf(runId)).toHaveLength(15);
  });

  it("lets a sandbox that shows its token speak of runs of its own environment only", async () => {
    await trigger(platform);
    const { start, runId } = await dequeueAndStart(platform);
    const token = (start.envVars["OTEL_EXPORTER_OTLP_HEADERS"] ?? "").replace(`${TELEMETRY_HEADER}=`, "");
    const foreign = await foreignToken();
    expect((await send("/otel/v1/logs", logs(log(runId, "forged")), { [TELEMETRY_HEADER]: `${token}x` })).status).toBe(401);
    expect((await send("/otel/v1/logs", logs(log(runId, "foreign")), { [TELEMETRY_HEADER]: foreign })).status).toBe(200);
    expect((await send("/otel/v1/logs", logs(log(runId, "own")), { [TELEMETRY_HEADER]: token })).status).toBe(200);
    await eventually("the log", async () => ((await logsOf(runId)).length > 0 ? true : undefined));
    expect(await logsOf(runId)).toEqual(["own"]);
  });

  async function foreignToken(): Promise<string> {
    const { environments } = (
      await platform.request("POST", "/admin/api/v1/projects", { body: { ref: "proj_foreign" }, key: "admin-token-of-the-tests" })
    ).json as { environments: { id: string; apiKey: string }[] };
    const { telemetryToken } = await import("../telemetry/token.ts");
    const [env] = environments;
    return telemetryToken(env?.id ?? "", env?.apiKey ?? "");
  }
});
