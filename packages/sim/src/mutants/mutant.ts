import type { ProfileName } from "../scenario/profiles.ts";

/** A guard that is taken away: one text of one file is replaced by another. */
export interface Mutant {
  readonly name: string;
  /** What protects the law. */
  readonly guard: string;
  readonly laws: readonly string[];
  /** Below `packages/`. */
  readonly file: string;
  /** There exactly once. */
  readonly find: string;
  readonly replace: string;
  /** Kinds of scenarios in which it shows soonest. */
  readonly profile: ProfileName;
}
