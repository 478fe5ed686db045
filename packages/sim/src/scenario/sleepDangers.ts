// Dangers of falling asleep.
import type { SeededRandom } from "../kernel/seededRandom.ts";
import { crash, when } from "./anyFault.ts";
import { part, run, sleeper, type Part } from "./anyPlane.ts";
import type { Fault, When } from "./scenario.ts";

export function givingUp(random: SeededRandom): Part {
  const snapshotDelayMs = random.pick([0, 500, 1_000]);
  const runs = Array.from({ length: random.int(1, 3) }, () => sleeper(random, 30_000, random.int(300, 1_500) + snapshotDelayMs));
  const slow: Fault = {
    kind: "link",
    link: "supervisor>platform",
    effect: random.pick(["delay", "lose_request"]),
    probability: 0.6,
    delayMs: random.pick([800, 6_000]),
    fromMs: 0,
    toMs: 40_000,
  };
  const cut: Fault = {
    kind: "link",
    link: "runner>supervisor",
    effect: "lose_answer",
    probability: 0.5,
    delayMs: 0,
    fromMs: 0,
    toMs: 40_000,
  };
  return part(random, { runs, faults: [slow, cut], changes: { snapshotDelayMs, saveMs: random.pick([60, 400]) } });
}

export function holds(random: SeededRandom): Part {
  const at: When = {
    point: random.pick(["frozen", "saving", "callback_sent", "reported"] as const),
    nth: random.int(1, 2),
    delayMs: random.pick([0, 1, 3, 30]),
  };
  const away: Fault = { kind: "crash", part: "supervisor", node: 0, downMs: 60_000, when: at };
  const faults: Fault[] = [away];
  if (random.chance(0.4))
    faults.push({
      kind: "crash",
      part: "gateway",
      node: 0,
      downMs: random.int(50, 3_000),
      when: { ...at, delayMs: at.delayMs + random.int(1, 9_000) },
    });
  return part(random, { faults, runs: [sleeper(random, 70_000), sleeper(random, 70_000)], changes: { nodes: 1, holdMs: 10_000 } });
}

export function lateCommits(random: SeededRandom): Part {
  const at: When = { point: "accepted", nth: random.int(1, 2), delayMs: random.pick([0, 0.5, 1]) };
  const faults = [{ ...crash(random, "gateway", at), downMs: random.int(9_000, 14_000) }] as Fault[];
  return part(random, {
    faults,
    runs: [sleeper(random, 40_000), sleeper(random, 40_000)],
    changes: { nodes: 1, holdMs: 10_000, snapshotDelayMs: 500, pollSeconds: 5 },
  });
}

export function slowSaves(random: SeededRandom): Part {
  const slow: Fault = {
    kind: "driver",
    node: 0,
    call: "save",
    effect: "hang",
    hangMs: random.int(57_000, 59_000),
    times: 2,
    fromMs: 0,
    toMs: 90_000,
  };
  return part(random, {
    faults: [slow],
    runs: [sleeper(random, 150_000)],
    changes: { nodes: 1, executingStallMs: 60_000, snapshotDelayMs: 5_000, saveMs: 20 },
  });
}

export function slowDestroys(random: SeededRandom): Part {
  const effect = random.pick(["hang", "refuse"] as const);
  const slow: Fault = {
    kind: "driver",
    node: 0,
    call: "destroy",
    effect,
    hangMs: random.pick([2_000, 10_000, 45_000]),
    times: random.int(1, 5),
    fromMs: 0,
    toMs: 60_000,
  };
  const wake: Fault = { kind: "wake", when: { point: "accepted", nth: 1, delayMs: random.pick([0, 1, 100]) } };
  return part(random, { faults: [slow, wake], runs: [sleeper(random, 20_000)], changes: { nodes: 1, snapshotDelayMs: 500 } });
}

export function forgeries(random: SeededRandom): Part {
  const faults: Fault[] = Array.from({ length: random.int(2, 5) }, (): Fault => ({
    kind: "forge",
    how: random.pick(["replay", "other_run", "unsigned"] as const),
    when: when(random, ["snapshot_asked", "frozen", "saving", "callback_sent", "reported"]),
  }));
  const cut: Fault = {
    kind: "link",
    link: "supervisor>gateway",
    effect: "lose_answer",
    probability: 0.8,
    delayMs: 0,
    fromMs: 3_000,
    toMs: 60_000,
  };
  if (random.chance(0.6)) faults.push(cut);
  return part(random, {
    faults,
    runs: Array.from({ length: 3 }, () => run(random)),
    changes: { snapshotDelayMs: random.pick([0, 500]), saveMs: 400 },
  });
}
