import { ManualClock } from "@torpor/kernel";
import { createMetrics, silentLog } from "@torpor/observe";
import { describe, expect, it } from "vitest";
import { TelemetryIntake } from "./intake.ts";
import type { LogRow, SpanRow } from "./otlp.ts";

function scene(options: { fails?: boolean } = {}) {
  const clock = new ManualClock();
  const metrics = createMetrics({ withProcess: false });
  const stored: LogRow[][] = [];
  let lookups = 0;
  const intake = new TelemetryIntake({
    store: {
      add: async (_spans: readonly SpanRow[], logs: readonly LogRow[]) => {
        if (options.fails === true) throw new Error("the database is gone");
        stored.push([...logs]);
      },
    },
    runExists: async (runId) => {
      lookups++;
      return runId.startsWith("run_known");
    },
    clock,
    log: silentLog,
    metrics,
  });
  const take = (...runIds: string[]) => intake.take({ spans: [], logs: runIds.map(log), environmentId: undefined });
  return { clock, metrics, stored, intake, take, lookups: () => lookups };
}

function log(runId: string): LogRow {
  return { runId, at: new Date(0), level: "INFO", message: runId, spanId: null, attemptNumber: null, properties: "{}" };
}

describe("taking telemetry", () => {
  it("drops and counts what comes while too much waits, and takes again once that is written", async () => {
    const { clock, metrics, stored, take } = scene();
    expect(take(...Array.from({ length: 20_000 }, () => "run_known"))).toBe("taken");
    expect(take("run_known")).toBe("dropped");
    expect(await metrics.render()).toContain('torpor_platform_telemetry_dropped_total{reason="busy"} 1');
    await clock.advance(100);
    expect(take("run_known")).toBe("taken");
    await clock.advance(100);
    expect(stored.map((logs) => logs.length)).toEqual([20_000, 1]);
  });

  it("writes what came within a tenth of a second in one go", async () => {
    const { clock, stored, take } = scene();
    take("run_known1");
    await clock.advance(99);
    expect(stored).toEqual([]);
    take("run_known2");
    await clock.advance(1);
    expect(stored.map((logs) => logs.map(({ runId }) => runId))).toEqual([["run_known1", "run_known2"]]);
  });

  it("asks once whether a run is there, and drops and counts what belongs to none", async () => {
    const { clock, metrics, stored, take, lookups } = scene();
    take("run_known", "run_invented", "run_known");
    await clock.advance(100);
    take("run_known");
    await clock.advance(100);
    expect(stored.flat().map(({ runId }) => runId)).toEqual(["run_known", "run_known", "run_known"]);
    expect(lookups()).toBe(2);
    expect(await metrics.render()).toContain('torpor_platform_telemetry_dropped_total{reason="unknown_run"} 1');
  });

  it("goes on when the database does not", async () => {
    const { clock, metrics, take } = scene({ fails: true });
    take("run_known");
    await clock.advance(100);
    expect(await metrics.render()).toContain('torpor_platform_telemetry_dropped_total{reason="failed"} 1');
    expect(take("run_known")).toBe("taken");
  });

  it("writes what waits when it is closed", async () => {
    const { stored, intake, take } = scene();
    take("run_known");
    await intake.close();
    expect(stored).toHaveLength(1);
  });
});
