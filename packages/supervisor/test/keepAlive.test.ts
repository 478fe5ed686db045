import { describe, expect, it } from "vitest";
import { Arrivals, GAP_BOUNDS_MS, planKeepAlive, type KeepAliveFacts } from "../src/launch/keepAlive.ts";

const FACTS: KeepAliveFacts = { gaps: [], idleAlike: 0, memoryIsTight: false, usualMs: 30_000, maxMs: 300_000 };

/** Counts by the upper end of their class. */
function gaps(counts: Readonly<Record<number, number>>, beyond = 0): number[] {
  return [...GAP_BOUNDS_MS.map((boundMs) => counts[boundMs] ?? 0), beyond];
}

describe("how long an idle runner is kept", () => {
  it.each<[string, Partial<KeepAliveFacts>, number]>([
    ["nothing is known: as set", {}, 30_000],
    ["too little is known: as set", { gaps: gaps({ 1_000: 7 }) }, 30_000],
    ["runs come each second: some seconds all the same", { gaps: gaps({ 1_000: 100 }) }, 5_000],
    ["nine of ten come within 10 s: long enough for those", { gaps: gaps({ 2_000: 50, 10_000: 40, 300_000: 10 }) }, 12_500],
    ["each four minutes: as long as may be", { gaps: gaps({ 300_000: 20 }) }, 300_000],
    ["once an hour: not at all, they would never be met", { gaps: gaps({}, 20) }, 0],
    ["bursts an hour apart: for the burst alone", { gaps: gaps({ 500: 80 }, 20) }, 5_000],
    ["one in twenty within reach: not at all", { gaps: gaps({ 5_000: 1 }, 19) }, 0],
    ["the setting's end is kept", { gaps: gaps({ 60_000: 20 }), maxMs: 60_000 }, 60_000],
    ["what lies beyond the setting's end is not waited for", { gaps: gaps({ 10_000: 20, 120_000: 80 }), maxMs: 60_000 }, 12_500],
    ["a second one of a kind is kept half as long", { idleAlike: 1 }, 15_000],
    ["a tenth one briefly", { idleAlike: 9 }, 3_000],
    ["memory is tight: not at all", { memoryIsTight: true, gaps: gaps({ 1_000: 100 }) }, 0],
    ["switched off: not at all, whatever comes", { usualMs: 0, gaps: gaps({ 1_000: 100 }) }, 0],
  ])("%s", (_what, change, keptMs) => {
    expect(planKeepAlive({ ...FACTS, ...change })).toBe(keptMs);
  });
});

describe("arrivals", () => {
  it("are counted by kind and by the length of the gap before", () => {
    const arrivals = new Arrivals();
    for (const atMs of [0, 900, 1_800, 60_000]) arrivals.note("a", atMs);
    arrivals.note("b", 1_000);
    expect(arrivals.gapsOf("a")).toEqual(gaps({ 1_000: 2, 60_000: 1 }));
    expect(arrivals.gapsOf("b")).toEqual(gaps({}));
    expect(arrivals.gapsOf("c")).toEqual([]);
  });

  it("of long ago weigh less and less, and take no more memory", () => {
    const arrivals = new Arrivals();
    for (let atMs = 0; atMs < 1_000_000; atMs += 1_000) arrivals.note("a", atMs);
    for (let count = 0; count < 300; count++) arrivals.note("a", 1_000_000 + count * 10_000);
    const counted = arrivals.gapsOf("a");
    expect(counted.reduce((sum, count) => sum + count, 0)).toBeLessThanOrEqual(257);
    expect(counted[GAP_BOUNDS_MS.indexOf(10_000)]).toBeGreaterThan((counted[GAP_BOUNDS_MS.indexOf(1_000)] ?? 0) * 2);
  });
});
