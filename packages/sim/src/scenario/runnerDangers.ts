// Dangers of runners: what they say is lost, late, or heard by nobody who knows them.
import type { SeededRandom } from "../kernel/seededRandom.ts";
import { crash, linkFault, when } from "./anyFault.ts";
import { part, run, sleeper, work, type Part } from "./anyPlane.ts";
import type { Fault, RunPlan } from "./scenario.ts";

export function sockets(random: SeededRandom): Part {
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

export function restarts(random: SeededRandom): Part {
  const faults = Array.from({ length: random.int(1, 2) }, () =>
    crash(random, "supervisor", when(random, ["suspend_asked", "wait_checked", "snapshot_asked"])),
  );
  return part(random, { faults, runs: [sleeper(random, 400_000)], changes: { nodes: 1, executingStallMs: 300_000 } });
}

export function warm(random: SeededRandom): Part {
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

export function stale(random: SeededRandom): Part {
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
