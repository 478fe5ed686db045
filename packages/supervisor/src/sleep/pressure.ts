// Who makes room when others need it. Pure.
import type { Room } from "../runners/runner.ts";

/** A run that waits awake, or is falling asleep. */
export interface Sleepy {
  readonly runId: string;
  readonly room: Room;
  /** How much longer its wait is expected to last; null: nobody knows. */
  readonly expectedRestMs: number | null;
  /** How long it has lasted. */
  readonly waitedMs: number;
  /** It is falling asleep already: its room will be free in a moment. */
  readonly isOnItsWay: boolean;
}

/**
 * The runs that must sleep at once so that `missing` becomes free: those with the longest rest of their wait first, and no more
 * than are needed. Where nothing is known of a wait, it is taken to last as long again as it has lasted. Fewer when all of them
 * together do not make enough room.
 */
export function whoMakesRoom(missing: Room, waiting: readonly Sleepy[]): string[] {
  let left = missing;
  const chosen: string[] = [];
  const onTheirWay = waiting.filter(({ isOnItsWay }) => isOnItsWay);
  for (const { room } of onTheirWay) left = less(left, room);
  const others = waiting.filter(({ isOnItsWay }) => !isOnItsWay).toSorted((a, b) => restOf(b) - restOf(a));
  for (const { runId, room } of others) {
    if (left.cpu <= 0 && left.memoryGib <= 0) break;
    left = less(left, room);
    chosen.push(runId);
  }
  return chosen;
}

function restOf({ expectedRestMs, waitedMs }: Sleepy): number {
  return expectedRestMs ?? waitedMs;
}

function less(a: Room, b: Room): Room {
  return { cpu: a.cpu - b.cpu, memoryGib: a.memoryGib - b.memoryGib };
}
