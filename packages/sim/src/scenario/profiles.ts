// What scenarios are about. Each aims at a kind of danger; `mixed`, the usual one, is about everything.
import type { SeededRandom } from "../kernel/seededRandom.ts";
import { anyFault, crash, driverFault, linkFault, LINKS, SLEEP_POINTS, WAKE_POINTS, when } from "./anyFault.ts";
import { part, run, work, type Part } from "./anyPlane.ts";
import type { Fault, Point, RunPlan, When } from "./scenario.ts";

const MAX_FAULTS = 7;

export const PROFILES = {
  mixed: mixed,
  /** Wakes, ends and cancels aimed at each phase of a sleep. */
  wakes: (random: SeededRandom) => aimedAt(random, SLEEP_POINTS, ["wake", "wake", "cancel", "stall"]),
  /** A task that ends although it waits, over a bad line to the platform. */
  givingUp: (random: SeededRandom) => ({ ...givingUp(random) }),
  /** Each part is killed, at each phase of a sleep. */
  crashes: (random: SeededRandom) => aimedAt(random, [...SLEEP_POINTS, ...WAKE_POINTS], ["crash"]),
  /** Nobody is left to decide about a held sandbox. */
  holds: (random: SeededRandom) => holds(random),
  /** Restores, in doubt. */
  restores: (random: SeededRandom) => restores(random),
  /** Sockets that come and go. */
  sockets: (random: SeededRandom) => sockets(random),
  /** A supervisor that starts again while its runs wait. */
  restarts: (random: SeededRandom) => restarts(random),
  /** A supervisor and its gateway that start again while a run is being restored: its runner is heard before it is found. */
  blindRestarts: (random: SeededRandom) => blindRestarts(random),
  /** Callbacks of strangers. */
  forgeries: (random: SeededRandom) => forgeries(random),
  /** Idle runners that are dead or frozen. */
  warm: (random: SeededRandom) => warm(random),
  /** Late words of runners that have lost their run. */
  stale: (random: SeededRandom) => stale(random),
  /** A commit that comes after the hold's deadline. */
  lateCommits: (random: SeededRandom) => lateCommits(random),
  /** Originals that take long to be destroyed, or cannot be at first. */
  slowDestroys: (random: SeededRandom) => slowDestroys(random),
  /** Two who ask for the same memory image. */
  rivals: (random: SeededRandom) => rivals(random),
  /** Memory that takes a minute to be written. */
  slowSaves: (random: SeededRandom) => slowSaves(random),
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

function sleeper(random: SeededRandom, ms: number, giveUpMs: number | null = null): RunPlan {
  return {
    triggerAtMs: random.int(200, 3_000),
    maxAttempts: 4,
    steps: [work(random), { kind: "wait", for: "token", ms, giveUpMs }, work(random)],
  };
}

function givingUp(random: SeededRandom): Part {
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

function holds(random: SeededRandom): Part {
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

function restores(random: SeededRandom): Part {
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

function blindRestarts(random: SeededRandom): Part {
  const point = random.pick(["restore_asked", "restored", "continued"] as const);
  const delayMs = random.pick([0, 1, 3, 10, 60]);
  const faults = [
    crash(random, "supervisor", { point, nth: 1, delayMs }),
    crash(random, "gateway", { point, nth: 1, delayMs: delayMs + random.int(0, 80) }),
  ];
  return part(random, { faults, runs: [sleeper(random, 20_000)], changes: { nodes: 1 } });
}

function sockets(random: SeededRandom): Part {
  const faults = Array.from({ length: random.int(1, 3) }, (): Fault => ({
    kind: "socket",
    awayMs: random.pick([0, 3_000, 15_000, 40_000]),
    isCut: random.chance(0.5),
    when: when(random, ["suspend_asked", "started", "thawed"]),
  }));
  if (random.chance(0.5))
    faults.push({
      kind: "link",
      link: "runner>supervisor",
      effect: "lose_request",
      probability: 1,
      delayMs: 0,
      fromMs: 1_000,
      toMs: random.int(5_000, 60_000),
    });
  return part(random, {
    faults,
    runs: [sleeper(random, 400_000)],
    changes: {
      nodes: 1,
      snapshotDelayMs: random.pick([3_000, 5_000]),
      socketGraceMs: random.pick([2_000, 10_000]),
      executingStallMs: 300_000,
    },
  });
}

function restarts(random: SeededRandom): Part {
  const faults = Array.from({ length: random.int(1, 2) }, () =>
    crash(random, "supervisor", when(random, ["suspend_asked", "wait_checked", "snapshot_asked"])),
  );
  return part(random, { faults, runs: [sleeper(random, 400_000)], changes: { nodes: 1, executingStallMs: 300_000 } });
}

function forgeries(random: SeededRandom): Part {
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

function warm(random: SeededRandom): Part {
  const faults = Array.from({ length: random.int(1, 3) }, (): Fault =>
    crash(random, random.pick(["runner", "supervisor"] as const), {
      point: random.pick(["idle", "handed_out"] as const),
      nth: random.int(1, 3),
      delayMs: random.pick([0, 1, 3, 100]),
    }),
  );
  if (random.chance(0.5)) faults.push(linkFault(random, random.pick(["runner>supervisor", "supervisor>broker"] as const)));
  return part(random, { faults, runs: Array.from({ length: 4 }, () => run(random)), changes: { warmStarts: true } });
}

function stale(random: SeededRandom): Part {
  const late: Fault = {
    kind: "link",
    link: "runner>supervisor",
    effect: "double",
    probability: 1,
    delayMs: 120_000,
    fromMs: 0,
    toMs: 30_000,
  };
  const retried: RunPlan = {
    triggerAtMs: 200,
    maxAttempts: 3,
    steps: [
      { kind: "fail", onAttempt: 1, retryDelayMs: 31_000 },
      { kind: "wait", for: "token", ms: 420_000, giveUpMs: null },
      work(random),
    ],
  };
  const busy: RunPlan = { triggerAtMs: random.int(3_000, 9_000), maxAttempts: 1, steps: [{ kind: "work", ms: 200_000 }] };
  const changes = { nodes: 1, warmStarts: true, consumers: 1, snapshotDelayMs: 5_000, executingStallMs: 300_000 };
  return part(random, { runs: [retried, busy], faults: [late], changes });
}

function lateCommits(random: SeededRandom): Part {
  const at: When = { point: "accepted", nth: random.int(1, 2), delayMs: random.pick([0, 0.5, 1]) };
  const faults = [{ ...crash(random, "gateway", at), downMs: random.int(9_000, 14_000) }] as Fault[];
  return part(random, {
    faults,
    runs: [sleeper(random, 40_000), sleeper(random, 40_000)],
    changes: { nodes: 1, holdMs: 10_000, snapshotDelayMs: 500, pollSeconds: 5 },
  });
}

function slowSaves(random: SeededRandom): Part {
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

function slowDestroys(random: SeededRandom): Part {
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

function rivals(random: SeededRandom): Part {
  const at: When = { point: random.pick(["restore_asked", "restoring"] as const), nth: 1, delayMs: random.pick([0, 1, 3, 10, 40]) };
  return part(random, {
    faults: [{ kind: "rival", when: at }],
    runs: [sleeper(random, 10_000)],
    changes: { nodes: 1, snapshotDelayMs: 500 },
  });
}
