// What scenarios are about. Each aims at a kind of danger; `mixed`, the usual one, is about everything.
import type { SeededRandom } from "../kernel/seededRandom.ts";
import { anyFault, crash, linkFault, LINKS, SLEEP_POINTS, WAKE_POINTS } from "./anyFault.ts";
import { part, type Part } from "./anyPlane.ts";
import type { Fault, Point, When } from "./scenario.ts";
import { restarts, sockets, stale, warm } from "./runnerDangers.ts";
import { forgeries, givingUp, holds, lateCommits, slowDestroys, slowSaves } from "./sleepDangers.ts";
import { blindRestarts, restores, rivals } from "./wakeDangers.ts";

const MAX_FAULTS = 7;

export const PROFILES = {
  mixed,
  /** Wakes, ends and cancels aimed at each phase of a sleep. */
  wakes: (random: SeededRandom) => aimedAt(random, SLEEP_POINTS, ["wake", "wake", "cancel", "stall"]),
  /** A task that ends although it waits, over a bad line to the platform. */
  givingUp,
  /** Each part is killed, at each phase of a sleep. */
  crashes: (random: SeededRandom) => aimedAt(random, [...SLEEP_POINTS, ...WAKE_POINTS], ["crash"]),
  /** Nobody is left to decide about a held sandbox. */
  holds,
  /** Restores, in doubt. */
  restores,
  /** Sockets that come and go. */
  sockets,
  /** A supervisor that starts again while its runs wait. */
  restarts,
  /** A supervisor and its gateway that start again while a run is being restored: its runner is heard before it is found. */
  blindRestarts,
  /** Callbacks of strangers. */
  forgeries,
  /** Idle runners that are dead or frozen. */
  warm,
  /** Late words of runners that have lost their run. */
  stale,
  /** A commit that comes after the hold's deadline. */
  lateCommits,
  /** Originals that take long to be destroyed, or cannot be at first. */
  slowDestroys,
  /** Two who ask for the same memory image. */
  rivals,
  /** Memory that takes a minute to be written. */
  slowSaves,
  /** Nothing goes wrong. */
  calm: (random: SeededRandom) => part(random, { faults: [] }),
} satisfies Record<string, (random: SeededRandom) => Part>;

export type ProfileName = keyof typeof PROFILES;

function mixed(random: SeededRandom): Part {
  const count = random.chance(0.1) ? 0 : random.int(1, MAX_FAULTS);
  return part(random, { faults: Array.from({ length: count }, () => anyFault(random)) });
}

function aimedAt(random: SeededRandom, points: readonly Point[], kinds: readonly ("wake" | "cancel" | "stall" | "crash")[]): Part {
  const faults = Array.from({ length: random.int(1, 3) }, (): Fault => {
    const kind = random.pick(kinds);
    const at: When = { point: random.pick(points), nth: random.int(1, 2), delayMs: random.pick([0, 0.3, 1, 2, 3, 5, 10, 60, 500]) };
    return kind === "crash" ? crash(random, random.pick(["supervisor", "gateway", "platform", "runner"] as const), at) : { kind, when: at };
  });
  if (random.chance(0.4)) faults.push(linkFault(random, random.pick(LINKS)));
  return part(random, { faults });
}
