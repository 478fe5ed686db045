import { describe, expect, it } from "vitest";
import { decideElsewhere, isLost, matchTakers } from "./nodes.ts";

describe("a node that does not have the memory image of the run that it was handed", () => {
  const facts = { home: "g/one", saidBy: "g/two", isHomeLost: false };

  it("wrote it itself: the attempt starts over, since nobody has it", () => {
    expect(decideElsewhere({ ...facts, saidBy: "g/one" })).toEqual({ kind: "startOver", why: "node one, which wrote it, has it no more" });
  });

  it("never had it, and the one that has it is lost: the attempt starts over", () => {
    expect(decideElsewhere({ ...facts, isHomeLost: true })).toMatchObject({ kind: "startOver", why: expect.stringContaining("node one") });
  });

  it("never had it, and the one that has it is there: the run waits for that one", () => {
    expect(decideElsewhere(facts)).toEqual({ kind: "waitForHome" });
  });

  it("where nobody knows who has it: it is tried again, on the budget of hand-outs", () => {
    expect(decideElsewhere({ ...facts, home: null })).toEqual({ kind: "giveBack" });
  });
});

describe("a node is lost", () => {
  const at = new Date(100_000);

  it("when nothing was ever heard of it", () => {
    expect(isLost(null, at, 1_000)).toBe(true);
  });

  it("from the very end of the time on", () => {
    expect(isLost(new Date(99_001), at, 1_000)).toBe(false);
    expect(isLost(new Date(99_000), at, 1_000)).toBe(true);
  });
});

describe("runs and those who ask for them", () => {
  it("a run that anybody may have leaves the one request of a node to the run that needs it, however late that comes", () => {
    expect(matchTakers([null, "one"], ["one", "two"])).toEqual([1, 0]);
  });

  it("go to who has asked longest", () => {
    expect(matchTakers([null, null], ["two", "one", "two"])).toEqual([0, 1]);
  });

  it("stay where nobody of their node asks", () => {
    expect(matchTakers(["one", "one", null], ["one", "two"])).toEqual([0, undefined, 1]);
  });
});
