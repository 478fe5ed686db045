// What the simulation has found and nobody has mended yet. A failure that looks like one of these is not counted by the tests; each
// goes from here with its mend, and its seed becomes a line in simulation.test.ts.
import type { Failure } from "./runSeed.ts";

interface Finding {
  readonly law: string;
  readonly looks: RegExp;
  readonly seed: number;
  readonly what: string;
}

export const OPEN_FINDINGS: readonly Finding[] = [
  {
    law: "L8",
    looks: /is taken for stalled, and its node knew how its sandbox was/,
    seed: 960,
    what: "a runner that was made ready ahead of its time ends its attempt by itself (a limit of the task was over at its thaw) and leaves; the run is continued in its sandbox all the same, and nobody executes it until it stalls",
  },
  {
    law: "L8",
    looks: /was made to leave run_\w+, which is its own/,
    seed: 1382,
    what: "a restored runner is shown its whole history while its metadata cannot be read, takes itself for replaced and leaves",
  },
  {
    law: "L7",
    looks: /^something is left: sandbox sbx\w+ on node\d \(running\), runner runner-[\w-]*ahead/,
    seed: 237,
    what: "a sandbox that was made ready ahead of its time outlives its run",
  },
  {
    law: "L6",
    looks: /runs again as sbx\w+, although its run has gone on from it/,
    seed: 3076,
    what: "a memory image that was reserved for a sandbox made ready ahead of its time becomes restorable again although its run has gone on from it",
  },
];

/** Undefined for what is new. */
export function openFindingOf({ law, text }: Pick<Failure, "law" | "text">): Finding | undefined {
  return OPEN_FINDINGS.find((finding) => finding.law === law && finding.looks.test(text));
}
