// A guard that can be taken away without anybody noticing is a missing check or a needless guard. Here each is taken away.
import { describe, expect, it } from "vitest";
import { simulate } from "../simulate.ts";
import { SimThread } from "../simThread.ts";
import { COVERED, EXPLORED_MUTANTS, MUTANTS } from "./mutants.ts";

/** Most are noticed within ten. */
const BUDGET_SEEDS = 200;
const LONG_MS = 300_000;

describe.concurrent("the simulation notices within its budget that", () => {
  it.for(MUTANTS)("$name: it is not so any more that $guard", { timeout: LONG_MS }, async (mutant, { expect }) => {
    const { profile } = mutant;
    const { failures } = await simulate({
      fromSeed: 1,
      count: BUDGET_SEEDS,
      profile,
      mutant,
      threads: 1,
      shrinks: false,
      stopsAtFirst: true,
    });
    expect(failures.map(({ law }) => law)).toHaveLength(1);
  });
});

describe.concurrent("the exhaustive search notices that", () => {
  it.for(EXPLORED_MUTANTS)("$name: it is not so any more that $guard", { timeout: LONG_MS }, async (mutant, { expect }) => {
    const thread = new SimThread({ ...mutant, profile: "calm" });
    try {
      const { exploration } = await thread.ask({ kind: "explore" });
      expect(exploration.broken).toMatch(/^L\d/);
    } finally {
      await thread.close();
    }
  });
});

describe("a guard that nobody would miss", () => {
  it("says which one covers it", () => {
    for (const reason of Object.values(COVERED)) expect(reason.length).toBeGreaterThan(20);
  });
});
