// Dangers of waking up.
import type { SeededRandom } from "../kernel/seededRandom.ts";
import { crash, driverFault, linkFault } from "./anyFault.ts";
import { part, sleeper, type Part } from "./anyPlane.ts";
import type { Fault, When } from "./scenario.ts";

export function restores(random: SeededRandom): Part {
  const faults: Fault[] = [];
  const count = random.int(1, 3);
  for (let index = 0; index < count; index++) {
    const at: When = {
      point: random.pick(["handed_out", "restore_asked", "restoring", "restored", "continued", "commit_asked", "accepted"] as const),
      nth: random.int(1, 2),
      delayMs: random.pick([0, 1, 3, 30, 85, 120]),
    };
    faults.push(
      random.pick<() => Fault>([
        () => crash(random, random.pick(["gateway", "supervisor"] as const), at),
        () => driverFault(random, random.pick(["restore", "prepare", "destroy"] as const)),
        () => linkFault(random, "supervisor>gateway"),
        () => linkFault(random, "supervisor>platform"),
        () => ({ kind: "stall", when: at }),
      ])(),
    );
  }
  return part(random, {
    faults,
    runs: Array.from({ length: random.int(1, 2) }, () => sleeper(random, random.int(3_000, 20_000))),
    changes: { snapshotDelayMs: random.pick([0, 500, 1_000]) },
  });
}

export function blindRestarts(random: SeededRandom): Part {
  const point = random.pick(["restore_asked", "restored", "continued"] as const);
  const delayMs = random.pick([0, 1, 3, 10, 60]);
  const faults = [
    crash(random, "supervisor", { point, nth: 1, delayMs }),
    crash(random, "gateway", { point, nth: 1, delayMs: delayMs + random.int(0, 80) }),
  ];
  return part(random, { faults, runs: [sleeper(random, 20_000)], changes: { nodes: 1 } });
}

export function rivals(random: SeededRandom): Part {
  const at: When = { point: random.pick(["restore_asked", "restoring"] as const), nth: 1, delayMs: random.pick([0, 1, 3, 10, 40]) };
  return part(random, {
    faults: [{ kind: "rival", when: at }],
    runs: [sleeper(random, 10_000)],
    changes: { nodes: 1, snapshotDelayMs: 500 },
  });
}
