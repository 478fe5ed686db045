// Which spares a node should have, and what is the next step there. Pure.

/** How far a spare is: `prepared` has a kernel and a network, and no memory; `cloned` is a template's clone that waits before its runner. */
export type SpareStage = "prepared" | "cloned";

/** An image on a machine, of which there have been starts. */
export interface KindOfSpare {
  readonly key: string;
  readonly hasTemplate: boolean;
  readonly prepared: number;
  readonly cloned: number;
  /** Making one has just failed. */
  readonly isBackingOff: boolean;
}

export type SpareStep =
  | { readonly kind: "prepare"; readonly key: string }
  /** A prepared one becomes a clone. */
  | { readonly kind: "clone"; readonly key: string }
  | { readonly kind: "drop"; readonly key: string; readonly stage: SpareStage }
  | { readonly kind: "rest" };

/**
 * The next step. `kinds`: those that were started last come first. Each wants one clone, for its next start, where it has a template,
 * and one that is prepared, for its next wake and to follow the clone when that is taken; the former first, and both before the next kind.
 */
export function planSpares(kinds: readonly KindOfSpare[], max: number): SpareStep {
  let left = max;
  const steps: SpareStep[] = [];
  for (const { key, hasTemplate, prepared, cloned, isBackingOff } of kinds) {
    const wantsClone = hasTemplate && left > 0 ? 1 : 0;
    const wantsPrepared = left - wantsClone > 0 ? 1 : 0;
    left -= wantsClone + wantsPrepared;
    // What is too much goes before anything is made, so that there are never more than `max` and the one that is being made
    if (cloned > wantsClone) return { kind: "drop", key, stage: "cloned" };
    if (prepared > wantsPrepared + wantsClone - cloned) return { kind: "drop", key, stage: "prepared" };
    if (isBackingOff) continue;
    if (cloned < wantsClone && prepared > 0) steps.push({ kind: "clone", key });
    else if (cloned + prepared < wantsClone + wantsPrepared) steps.push({ kind: "prepare", key });
  }
  return steps[0] ?? { kind: "rest" };
}
