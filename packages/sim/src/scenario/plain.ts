import type { PlaneSettings, Scenario } from "./scenario.ts";

export const PLAIN_SETTINGS: PlaneSettings = {
  nodes: 1,
  warmStarts: false,
  snapshotDelayMs: 5_000,
  consumers: 1,
  dispatchLimit: 10,
  maxSnapshots: 4,
  holdMs: 60_000,
  socketGraceMs: 30_000,
  pollSeconds: 5,
  heartbeatSeconds: 20,
  saveMs: 60,
  guestClock: "stand_still",
  executingStallMs: 300_000,
  pendingExecutingStallMs: 60_000,
};

/** One run that works, waits, works, and nothing goes wrong. */
export function plainScenario(seed: number): Scenario {
  return {
    seed,
    settings: PLAIN_SETTINGS,
    runs: [
      {
        triggerAtMs: 1_000,
        maxAttempts: 3,
        steps: [
          { kind: "work", ms: 50 },
          { kind: "wait", for: "time", ms: 20_000, giveUpMs: null },
          { kind: "work", ms: 50 },
        ],
      },
    ],
    faults: [],
    quietAtMs: 0,
  };
}
