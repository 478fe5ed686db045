export { MUTANTS } from "./mutants/mutants.ts";
export type { Mutant } from "./mutants/mutant.ts";
export { SimThread } from "./pool.ts";
export type { Failure } from "./runSeed.ts";
export { PROFILES, type ProfileName } from "./scenario/profiles.ts";
export { simulate, type SimulateOptions, type SimulateResult } from "./simulate.ts";
export { printFailure } from "./printFailure.ts";
