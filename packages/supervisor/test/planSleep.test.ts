import { describe, expect, it } from "vitest";
import { planKeep, planSleep, type SleepFacts } from "../src/sleep/planSleep.ts";

const prices = { knownEndMs: 15_000, unknownEndMs: 18_000, freezeMs: 150, wakeP95Ms: 400 };
const facts: SleepFacts = {
  kind: "MANUAL",
  end: null,
  waitedMs: 0,
  past: null,
  prices,
  isShort: false,
  fixedDelayMs: null,
};
const past = (delayMs: number | null, restMs: number | null = 60_000) => ({ bestDelayMs: () => delayMs, expectedRestMs: () => restMs });
const exact = (inMs: number) => ({ inMs, isExact: true });
const atMost = (inMs: number) => ({ inMs, isExact: false });

describe("a waiting run", () => {
  it.each<[string, Partial<SleepFacts>, object]>([
    ["whose wait is over already stays", { end: exact(-5) }, { kind: "stay", reason: "near_end" }],
    ["whose wait ends before a sleep pays off stays", { end: exact(14_999) }, { kind: "stay", reason: "near_end" }],
    ["whose wait ends just when a sleep pays off stays", { end: exact(15_000) }, { kind: "stay", reason: "near_end" }],
    [
      "whose wait ends later than that sleeps at once",
      { end: exact(15_001) },
      { kind: "at_once", reason: "far_end", expectedRestMs: 15_001 },
    ],
    ["whose wait ends in a year sleeps at once", { end: exact(3e10) }, { kind: "at_once", reason: "far_end" }],
    [
      "that may be woken any moment, and surely before a sleep pays off, stays",
      { end: atMost(18_000) },
      { kind: "stay", reason: "near_end" },
    ],
    [
      "that may be woken any moment, at the latest in an hour, is held as if that were not known",
      { end: atMost(3.6e6) },
      { kind: "after", delayMs: 18_000, reason: "break_even" },
    ],
    [
      "of which nothing is known sleeps after the break-even",
      {},
      { kind: "after", delayMs: 18_000, reason: "break_even", expectedRestMs: null },
    ],
    ["of a foreign platform, which tells nothing, sleeps after the break-even", { kind: "UNKNOWN" }, { kind: "after", delayMs: 18_000 }],
    [
      "whose task's waits were long so far sleeps at once",
      { past: past(0) },
      { kind: "at_once", reason: "learned", expectedRestMs: 60_000 },
    ],
    [
      "whose task's waits end within 3 s or hardly ever sleeps after that",
      { past: past(3_000) },
      { kind: "after", delayMs: 3_000, reason: "learned" },
    ],
    [
      "whose task's waits may not be trusted sleeps after the break-even",
      { past: past(null) },
      { kind: "after", delayMs: 18_000, reason: "break_even" },
    ],
    ["is never held longer than a minute on trust", { past: past(90_000) }, { kind: "after", delayMs: 60_000 }],
    ["that has waited a while sleeps that much sooner", { waitedMs: 10_000 }, { kind: "after", delayMs: 8_000 }],
    ["that has waited longer than the break-even sleeps at once", { waitedMs: 20_000 }, { kind: "at_once", reason: "break_even" }],
    [
      "whose room is needed sleeps at once, however near the end of its wait",
      { isShort: true, end: exact(1_000) },
      { kind: "at_once", reason: "pressure" },
    ],
    [
      "whose room is needed and whose wait ends sooner than it could be frozen stays",
      { isShort: true, end: exact(150) },
      { kind: "stay", reason: "near_end" },
    ],
    [
      "whose room is needed sleeps at once although the operator has set a delay",
      { isShort: true, fixedDelayMs: 5_000 },
      { kind: "at_once", reason: "pressure" },
    ],
    [
      "sleeps when the operator says, whatever was learnt",
      { fixedDelayMs: 5_000, past: past(0) },
      { kind: "after", delayMs: 5_000, reason: "fixed" },
    ],
    [
      "sleeps when the operator says, although its wait ends soon after",
      { fixedDelayMs: 5_000, end: exact(6_000) },
      { kind: "after", delayMs: 5_000, reason: "fixed" },
    ],
    ["sleeps at once when the operator says 0", { fixedDelayMs: 0 }, { kind: "at_once", reason: "fixed" }],
    ["is expected to wait no longer than its end allows", { end: atMost(30_000), past: past(1_000, 90_000) }, { expectedRestMs: 30_000 }],
  ])("%s", (_name, given, plan) => {
    expect(planSleep({ ...facts, ...given })).toMatchObject(plan);
  });
});

describe("the frozen sandbox of a run that fell asleep", () => {
  it.each<[string, Partial<SleepFacts>, number]>([
    ["is not kept when the end of the wait is known, since it is made ready ahead", { end: exact(60_000) }, 0],
    ["is not kept when others need its room", { isShort: true, waitedMs: 10_000 }, 0],
    ["is not kept when its task's waits are long", { past: past(0, 301_000) }, 0],
    ["is kept twice as long as the rest is expected to last", { past: past(0, 20_000) }, 40_000],
    ["is kept for five minutes at most", { past: past(0, 290_000) }, 300_000],
    ["is kept as long again as it has waited, twice, when nothing is known", { waitedMs: 18_000 }, 36_000],
    ["is not kept beyond the latest end of the wait", { waitedMs: 18_000, end: atMost(5_000) }, 5_000],
    ["is not kept when it slept at once and nothing is known", { waitedMs: 0 }, 0],
  ])("%s", (_name, given, keepMs) => {
    expect(planKeep({ ...facts, ...given })).toBe(keepMs);
  });
});
