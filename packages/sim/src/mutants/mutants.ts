// The guards, one by one. Each is taken away in turn, and the simulation must notice (mutants.test.ts). A guard that nobody misses is
// a missing check or a needless guard: those that another one covers wholly stand in `COVERED`, with the reason.
import { GATEWAY_MUTANTS } from "./gatewayMutants.ts";
import type { Mutant } from "./mutant.ts";
import { SUPERVISOR_MUTANTS } from "./supervisorMutants.ts";

export const MUTANTS: readonly Mutant[] = [...SUPERVISOR_MUTANTS, ...GATEWAY_MUTANTS];

/** Decisions whose loss the exhaustive search finds. */
export const EXPLORED_MUTANTS: readonly Omit<Mutant, "profile">[] = [
  {
    name: "acceptance-guessed",
    guard: "a suspension counts as accepted only when the run's checkpoint is this very image",
    laws: ["L5", "L9"],
    file: "supervisor/src/snapshot/verdict.ts",
    find: 'return latest.checkpoint?.location === imageId && ASLEEP.has(latest.snapshot.executionStatus) ? "yes" : "no";',
    replace: 'return "yes";',
  },
  {
    name: "cancel-loses-its-way",
    guard: "a cancel of what has reached the gateway thaws",
    laws: ["L4"],
    file: "supervisor/src/snapshot/lifeCycle.ts",
    find: 'freezing: { hold: "held", cancel: "thawed", fail: "failed" },',
    replace: 'freezing: { hold: "held", cancel: "freezing", fail: "failed" },',
  },
];

/** Guards that nobody would miss, because another one covers them wholly. They stay, as the nearer of the two. */
export const COVERED: Readonly<Record<string, string>> = {
  "a nonce counts once": "its result is a promise, which settles once; forgetting the nonce frees memory",
  "start and continue cancel the intent":
    "a completion, a hand-out and every newer snapshot cancel it before a runner can start or continue again",
  "a frozen sandbox that is found at a start is thawed": "the gateway's deadline thaws it, only later",
  "a second snapshot of a frozen sandbox is refused by name": "its state refuses it as well; the name tells the caller why",
};
