import type { Mutant } from "./mutants/mutant.ts";
import { SimPool, type SeedRange, type SimulateResult } from "./simPool.ts";

export interface SimulateOptions extends SeedRange {
  readonly mutant?: Mutant | null;
  /** All cores by default. */
  readonly threads?: number;
}

/** Runs a range of seeds in threads of its own. */
export async function simulate({ mutant, threads, ...range }: SimulateOptions): Promise<SimulateResult> {
  const pool = new SimPool({ mutant: mutant ?? null, ...(threads === undefined ? {} : { threads }) });
  try {
    return await pool.run(range);
  } finally {
    await pool.close();
  }
}
