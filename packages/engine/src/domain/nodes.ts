// Where memory images lie, and who may start what lies there.

/** What a node says that was handed a sleeping run and never had its memory image. */
export const MEMORY_IMAGE_ELSEWHERE = "memory_image_elsewhere";

interface Named {
  readonly workerGroupId: string;
  readonly instanceName: string;
}

/** A node's name over all worker groups, as it stands beside checkpoints and queued runs. */
export function nodeOf(worker: Named): string {
  return `${worker.workerGroupId}/${worker.instanceName}`;
}

/** The name that its operator knows it by. */
export function nodeName(node: string): string {
  return node.slice(node.indexOf("/") + 1);
}

/** Whether nothing has been heard of a node for so long that others may take what only it has. */
export function isLost(seenAt: Date | null, at: Date, lostAfterMs: number): boolean {
  return seenAt === null || seenAt.getTime() + lostAfterMs <= at.getTime();
}

export interface ElsewhereFacts {
  /** The node that wrote the memory image; null where that is not known. */
  readonly home: string | null;
  /** The node that says it does not have it. */
  readonly saidBy: string;
  readonly isHomeLost: boolean;
}

export type ElsewhereDecision =
  /** Nobody knows where it is: on the budget of hand-outs. */
  | { readonly kind: "giveBack" }
  /** The node that has it is there (again): the run waits for it, and no hand-out counts. */
  | { readonly kind: "waitForHome" }
  | { readonly kind: "startOver"; readonly why: string };

/** What follows when a node does not have the memory image of the run that it was handed. */
export function decideElsewhere({ home, saidBy, isHomeLost }: ElsewhereFacts): ElsewhereDecision {
  if (home === null) return { kind: "giveBack" };
  if (home === saidBy) return { kind: "startOver", why: `node ${nodeName(home)}, which wrote it, has it no more` };
  if (isHomeLost) return { kind: "startOver", why: `node ${nodeName(home)}, which has it, is not heard of any more` };
  return { kind: "waitForHome" };
}

/**
 * Gives each run its taker: those that one node must have go to that node's requests, the others to whoever has asked longest
 * of those that are left. Answers indexes of `askers`, undefined for a run that finds none.
 */
export function matchTakers(homes: readonly (string | null)[], askers: readonly string[]): (number | undefined)[] {
  const free = new Set(askers.keys());
  const take = (fits: (asker: number) => boolean): number | undefined => {
    const found = [...free].find(fits);
    if (found !== undefined) free.delete(found);
    return found;
  };
  const takers = homes.map((home) => (home === null ? undefined : take((asker) => askers[asker] === home)));
  return takers.map((taker, at) => (homes[at] === null ? take(() => true) : taker));
}
