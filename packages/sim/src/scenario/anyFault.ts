// What can go wrong, at random.
import type { SeededRandom } from "../kernel/seededRandom.ts";
import type { DriverCall, Fault, LinkName, Point, When } from "./scenario.ts";

/** From here on nothing goes wrong any more. */
export const QUIET_AT_MS = 90_000;

export const SLEEP_POINTS: readonly Point[] = [
  "suspend_asked",
  "wait_checked",
  "snapshot_asked",
  "frozen",
  "saving",
  "callback_sent",
  "reported",
  "accepted",
  "commit_asked",
  "destroyed",
];
export const WAKE_POINTS: readonly Point[] = [
  "handed_out",
  "restore_asked",
  "restoring",
  "restored",
  "continued",
  "started",
  "completing",
  "thawed",
];
export const LINKS: readonly LinkName[] = [
  "supervisor>platform",
  "supervisor>platform",
  "supervisor>gateway",
  "supervisor>gateway",
  "gateway>supervisor",
  "platform>supervisor",
  "runner>supervisor",
  "runner>platform",
];
const DRIVER_CALLS: readonly DriverCall[] = ["create", "prepare", "restore", "freeze", "save", "thaw", "destroy"];

export function anyFault(random: SeededRandom): Fault {
  const kind = random.pick([
    "link",
    "link",
    "link",
    "crash",
    "crash",
    "wake",
    "wake",
    "driver",
    "disk",
    "socket",
    "cancel",
    "stall",
    "drain",
    "clock",
    "forge",
  ] as const);
  switch (kind) {
    case "link":
      return linkFault(random, random.pick(LINKS));
    case "crash":
      return crash(random, random.pick(["supervisor", "supervisor", "gateway", "gateway", "platform", "runner"] as const), when(random));
    case "driver":
      return driverFault(random, random.pick(DRIVER_CALLS));
    case "disk":
      return {
        kind,
        node: random.int(0, 1),
        effect: random.chance(0.5) ? "full" : "slow",
        slowMs: random.pick([20, 200]),
        ...span(random, 30_000),
      };
    case "clock":
      return { kind, node: random.int(0, 1), byMs: random.pick([-3_600_000, -20_000, 20_000, 3_600_000]), when: when(random) };
    case "socket":
      return { kind, awayMs: random.pick([0, 5_000, 40_000]), isCut: random.chance(0.3), when: when(random) };
    case "drain":
      return { kind, node: random.int(0, 1), downMs: random.int(100, 5_000), when: when(random) };
    case "forge":
      return { kind, how: random.pick(["replay", "other_run", "unsigned"] as const), when: when(random) };
    default:
      return { kind, when: when(random) };
  }
}

export function linkFault(random: SeededRandom, link: LinkName): Fault {
  const effect = random.pick(["lose_request", "lose_answer", "lose_answer", "delay", "double"] as const);
  return {
    kind: "link",
    link,
    effect,
    probability: random.pick([0.1, 0.4, 1]),
    delayMs: random.pick([50, 800, 6_000]),
    ...span(random, 25_000),
  };
}

export function driverFault(random: SeededRandom, call: DriverCall): Fault {
  const effect = random.pick(["hang", "hang", "refuse", "lose_answer", "dies"] as const);
  return {
    kind: "driver",
    node: random.int(0, 1),
    call,
    effect,
    hangMs: random.pick([500, 5_000, 40_000]),
    times: random.int(1, 3),
    ...span(random, 60_000),
  };
}

export function crash(random: SeededRandom, what: "supervisor" | "gateway" | "platform" | "runner", at: When): Fault {
  return { kind: "crash", part: what, node: random.int(0, 1), downMs: random.pick([50, 1_000, 5_000, 20_000]), when: at };
}

function span(random: SeededRandom, longestMs: number): { fromMs: number; toMs: number } {
  const fromMs = random.int(0, QUIET_AT_MS - 30_000);
  return { fromMs, toMs: Math.min(QUIET_AT_MS, fromMs + random.int(500, longestMs)) };
}

export function when(random: SeededRandom, points: readonly Point[] = [...SLEEP_POINTS, ...WAKE_POINTS]): When {
  if (random.chance(0.3)) return { atMs: random.int(1_000, QUIET_AT_MS - 10_000) };
  return { point: random.pick(points), nth: random.int(1, 3), delayMs: random.pick([0, 0, 0.3, 1, 3, 10, 60, 500]) };
}
