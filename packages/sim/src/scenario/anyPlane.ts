// Planes and runs, at random.
import type { SeededRandom } from "../kernel/seededRandom.ts";
import type { Fault, PlaneSettings, RunPlan, TaskStep } from "./scenario.ts";

export interface Part {
  readonly settings: PlaneSettings;
  readonly runs: readonly RunPlan[];
  readonly faults: readonly Fault[];
}

export function part(random: SeededRandom, given: Partial<Part> & { readonly changes?: Partial<PlaneSettings> }): Part {
  return {
    settings: { ...settings(random), ...given.changes },
    runs: given.runs ?? Array.from({ length: random.int(1, 3) }, () => run(random)),
    faults: given.faults ?? [],
  };
}

function settings(random: SeededRandom): PlaneSettings {
  return {
    nodes: random.chance(0.25) ? 2 : 1,
    warmStarts: random.chance(0.3),
    snapshotDelayMs: random.pick([0, 500, 1_000, 3_000, 5_000]),
    consumers: random.pick([1, 1, 2]),
    dispatchLimit: random.pick([1, 1, 2, 10]),
    maxSnapshots: random.pick([1, 2, 4]),
    holdMs: random.pick([10_000, 15_000, 30_000]),
    socketGraceMs: random.pick([2_000, 10_000, 30_000]),
    pollSeconds: random.pick([2, 5]),
    heartbeatSeconds: 20,
    saveMs: random.pick([20, 60, 60, 400]),
    guestClock: random.chance(0.5) ? "stand_still" : "overdue",
    executingStallMs: random.pick([60_000, 90_000, 300_000]),
    pendingExecutingStallMs: 60_000,
  };
}

export function run(random: SeededRandom): RunPlan {
  const steps: TaskStep[] = [work(random)];
  const waits = random.int(1, 3);
  for (let index = 0; index < waits; index++) {
    const giveUpMs = random.chance(0.12) ? random.int(100, 9_000) : null;
    steps.push({ kind: "wait", for: random.chance(0.5) ? "time" : "token", ms: waitMs(random), giveUpMs }, work(random));
  }
  if (random.chance(0.15))
    steps.splice(random.int(1, steps.length), 0, { kind: "fail", onAttempt: 1, retryDelayMs: random.pick([200, 2_000, 40_000]) });
  return { triggerAtMs: random.int(200, 8_000), maxAttempts: random.int(2, 5), steps };
}

export function work(random: SeededRandom): TaskStep {
  return { kind: "work", ms: random.pick([5, 50, 300, 2_000]) };
}

function waitMs(random: SeededRandom): number {
  return random.chance(0.3) ? random.int(20, 4_000) : random.int(4_000, 25_000);
}

/** A run that sleeps once, and lets a token wake it. */
export function sleeper(random: SeededRandom, ms: number, giveUpMs: number | null = null): RunPlan {
  return {
    triggerAtMs: random.int(200, 3_000),
    maxAttempts: 4,
    steps: [work(random), { kind: "wait", for: "token", ms, giveUpMs }, work(random)],
  };
}
