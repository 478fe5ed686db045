// What the simulation has found and nobody has mended yet. A failure that looks like one of these is not counted by the tests; each
// goes from here with its mend, and its seed becomes a line in simulation.test.ts.
import type { Failure } from "./runSeed.ts";

interface Finding {
  readonly law: string;
  readonly looks: RegExp;
  readonly seed: number;
  readonly what: string;
}

export const OPEN_FINDINGS: readonly Finding[] = [];

/** Undefined for what is new. */
export function openFindingOf({ law, text }: Pick<Failure, "law" | "text">): Finding | undefined {
  return OPEN_FINDINGS.find((finding) => finding.law === law && finding.looks.test(text));
}
