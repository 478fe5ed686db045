// A guard that can be taken away without anybody noticing is a missing check or a needless guard. Here each is taken away.
import { describe, expect, it } from "vitest";
import { simulate } from "../simulate.ts";
import { MUTANTS } from "./mutants.ts";

/** Most are noticed within ten. */
const BUDGET_SEEDS = 200;
const LONG_MS = 300_000;

describe("the simulation notices within its budget that", () => {
  it.for(MUTANTS)("$name: it is not so any more that $guard", { timeout: LONG_MS }, async (mutant) => {
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
