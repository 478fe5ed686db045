export { MUTANTS } from "./mutants/mutants.ts";
export type { Mutant } from "./mutants/mutant.ts";
export { SimThread } from "./simThread.ts";
export type { Failure } from "./runSeed.ts";
export { PROFILES, type ProfileName } from "./scenario/profiles.ts";
export type { SimulateResult } from "./simPool.ts";
export { simulate, type SimulateOptions } from "./simulate.ts";
export { printFailure } from "./printFailure.ts";
