import { describe, expect, it } from "vitest";
import { paceOf, storyFor } from "./story.ts";

describe("the story of the demo", () => {
  it.each([
    [undefined, 1],
    [2_000, 1],
    [4_000, 1],
    [12_000, 3],
    [100_000, 5],
  ])("on a machine that boots a sandbox in %s ms goes %s times slower", (bootMs, pace) => {
    expect(paceOf(bootMs)).toBe(pace);
  });

  it("has naps that a slower machine has the time to sleep through, and says how long they are", () => {
    const secondsOf = (pace: number): unknown[] => storyFor(pace).flatMap(({ payload }) => payload["seconds"] ?? []);
    expect(secondsOf(1)).toEqual([20, 12]);
    expect(secondsOf(3)).toEqual([60, 36]);
    expect(storyFor(3)[0]?.proves).toContain("60 s");
  });
});
