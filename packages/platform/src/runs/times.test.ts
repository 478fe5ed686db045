import { TorporError } from "@torpor/contracts";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { delayOf, durationMs, durationText, momentOf, ttlSecondsOf } from "./times.ts";

const NOW = Date.UTC(2026, 0, 1, 12);

describe("times as users write them", () => {
  it.each(["", "soon", "1", "1x", "-1h", "1h ", " 1h", "1.5h", "h", "1h30", `${"1h".repeat(60)}`, "9999999999s"])(
    "takes %j for no duration",
    (text) => {
      expect(durationMs(text)).toBeUndefined();
    },
  );

  it.each([
    ["30s", 30_000],
    ["1h", 3_600_000],
    ["2hr", 7_200_000],
    ["1d12h", 129_600_000],
    ["1h30m15s", 5_415_000],
    ["2w", 1_209_600_000],
    ["0s", 0],
  ])("reads %s as %d ms", (text, ms) => {
    expect(durationMs(text)).toBe(ms);
  });

  it.each(["5", "2020", "yesterday", "2026-13-01T00:00:00Z", "2026-01-01 10:00", "9".repeat(15), "999999-01-01"])(
    "takes %j for no moment",
    (text) => {
      expect(momentOf(text, NOW)).toBeUndefined();
    },
  );

  it("reads an ISO date with and without a zone, and milliseconds since the epoch", () => {
    expect(momentOf("2026-01-02T00:00:00.000Z", NOW)?.toISOString()).toBe("2026-01-02T00:00:00.000Z");
    expect(momentOf("2026-01-02T01:00:00+01:00", NOW)?.toISOString()).toBe("2026-01-02T00:00:00.000Z");
    expect(momentOf("2026-01-02", NOW)?.toISOString()).toBe("2026-01-02T00:00:00.000Z");
    expect(momentOf(String(NOW), NOW)?.getTime()).toBe(NOW);
  });

  it("counts a duration from now", () => {
    expect(momentOf("1h", NOW)?.getTime()).toBe(NOW + 3_600_000);
  });

  it("does not delay a run until a moment that has passed", () => {
    expect(delayOf("2020-01-01T00:00:00Z", NOW, "options.delay")).toBeUndefined();
  });

  it("names the field and the text of a delay that makes no sense", () => {
    const refusal = refusalOf(() => delayOf("soonish", NOW, "options.delay"));
    expect(refusal).toMatchObject({ code: "request_unprocessable", param: "options.delay" });
    expect(refusal.message).toContain('"soonish"');
  });

  it("reads a time to live as seconds or as a duration", () => {
    expect(ttlSecondsOf(90, "options.ttl")).toBe(90);
    expect(ttlSecondsOf("10m", "options.ttl")).toBe(600);
    expect(refusalOf(() => ttlSecondsOf("10", "options.ttl"))).toMatchObject({ param: "options.ttl" });
  });

  it("writes seconds so that reading them again gives the same", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 100_000_000 }), (seconds) => {
        expect(durationMs(durationText(seconds) ?? "")).toBe(seconds * 1000);
      }),
    );
    expect(durationText(3690)).toBe("1h1m30s");
    expect(durationText(0)).toBeUndefined();
  });
});

function refusalOf(work: () => unknown): TorporError {
  try {
    work();
  } catch (error) {
    if (error instanceof TorporError) return error;
    throw error;
  }
  throw new Error("it was not refused");
}
