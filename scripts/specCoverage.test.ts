import { describe, expect, it } from "vitest";
import { readPromises, specProblems } from "./specCoverage.ts";

const SPEC = [
  "| Law | Promise | Test |",
  "|---|---|---|",
  '| L1 | never frozen | `a.test.ts`: "a run that moved on is not frozen" |',
  "| L2 | own intent only | |",
  "| L3 | a blip is survived | untested: needs two machines |",
  '| L4 | wake wins | `gone.test.ts`: "x" |',
].join("\n");

describe("SPEC.md against the tests", () => {
  it("finds the promise without a test, the missing file and the missing test", () => {
    const problems = specProblems(readPromises(SPEC), (file) => (file === "a.test.ts" ? "it('something else')" : null));
    expect(problems.map(({ id }) => id)).toEqual(["L1", "L2", "L4"]);
  });

  it("accepts a promise whose test is there, and one that says untested", () => {
    const promises = readPromises(SPEC).filter(({ id }) => id === "L1" || id === "L3");
    expect(specProblems(promises, () => "it('a run that moved on is not frozen', …)")).toEqual([]);
  });

  it("refuses a number that stands twice", () => {
    const twice = readPromises(`| L3 | a | untested |\n| L3 | b | untested |`);
    expect(specProblems(twice, () => "")).toEqual([{ id: "L3", problem: "stands twice" }]);
  });
});
