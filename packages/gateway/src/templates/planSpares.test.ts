import { describe, expect, it } from "vitest";
import { planSpares, type KindOfSpare, type SpareStep } from "./planSpares.ts";

const kind = (key: string, more: Partial<KindOfSpare> = {}): KindOfSpare => ({
  key,
  hasTemplate: true,
  prepared: 0,
  cloned: 0,
  isBackingOff: false,
  ...more,
});
const COMPLETE = { prepared: 1, cloned: 1 };

describe("the next step towards the spares that a node should have", () => {
  it.each<[string, readonly KindOfSpare[], number, SpareStep]>([
    ["is nothing while nothing has been started", [], 4, { kind: "rest" }],
    ["is nothing where none may be made", [kind("a")], 0, { kind: "rest" }],
    ["is a kernel first", [kind("a")], 4, { kind: "prepare", key: "a" }],
    ["is a clone in the kernel that is there", [kind("a", { prepared: 1 })], 4, { kind: "clone", key: "a" }],
    ["is a kernel beside the clone, for a wake", [kind("a", { cloned: 1 })], 4, { kind: "prepare", key: "a" }],
    ["is nothing when the last kind has both and there is no other", [kind("a", COMPLETE)], 4, { kind: "rest" }],
    ["is the next kind when the last one has both", [kind("a", COMPLETE), kind("b")], 4, { kind: "prepare", key: "b" }],
    [
      "is the clone of the last kind before a kernel for an earlier one",
      [kind("a", { prepared: 1 }), kind("b")],
      4,
      { kind: "clone", key: "a" },
    ],
    ["is no clone where there is no template", [kind("a", { hasTemplate: false, prepared: 1 })], 4, { kind: "rest" }],
    [
      "drops a clone whose template has gone",
      [kind("a", { hasTemplate: false, ...COMPLETE })],
      4,
      { kind: "drop", key: "a", stage: "cloned" },
    ],
    [
      "drops what an earlier kind has when the last ones take the places",
      [kind("a", COMPLETE), kind("b", COMPLETE)],
      2,
      { kind: "drop", key: "b", stage: "cloned" },
    ],
    [
      "drops a kernel too many before anything is made",
      [kind("a"), kind("b", { prepared: 3 })],
      4,
      { kind: "drop", key: "b", stage: "prepared" },
    ],
    ["is a clone alone where one may be made", [kind("a", { cloned: 1 })], 1, { kind: "rest" }],
    ["passes over a kind that has just failed", [kind("a", { isBackingOff: true }), kind("b")], 4, { kind: "prepare", key: "b" }],
  ])("%s", (_what, kinds, max, step) => {
    expect(planSpares(kinds, max)).toEqual(step);
  });

  it("comes to rest within the bound, whatever is there to begin with", () => {
    for (let seed = 0; seed < 200; seed++) {
      const digit = (place: number, base: number): number => Math.floor(seed / base ** place) % base;
      const counts = ["a", "b", "c"].map((key, index) => ({
        key,
        hasTemplate: digit(index, 2) === 1,
        prepared: digit(index, 4),
        cloned: digit(index + 1, 3),
      }));
      const max = seed % 5;
      for (let steps = 0; ; steps++) {
        expect(steps).toBeLessThan(40);
        const step = planSpares(
          counts.map((one) => ({ ...one, isBackingOff: false })),
          max,
        );
        if (step.kind === "rest") break;
        const mine = counts.find(({ key }) => key === step.key);
        if (mine === undefined) throw new Error(`Cannot find ${step.key}`);
        if (step.kind === "drop") mine[step.stage]--;
        if (step.kind === "prepare") mine.prepared++;
        if (step.kind === "clone") [mine.prepared, mine.cloned] = [mine.prepared - 1, mine.cloned + 1];
      }
      expect(counts.reduce((sum, { prepared, cloned }) => sum + prepared + cloned, 0)).toBeLessThanOrEqual(max);
    }
  });
});
