import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { usePlane } from "./harness.ts";
import { Invariants } from "./invariants.ts";
import { deed, World } from "./world.ts";

// Callers and nodes do anything in any order, also at the same moment and with stale beliefs; after every step the
// engine's state must make sense, and in the end every run must be able to end.

const ENVIRONMENT_LIMIT = 4;
const SECONDS = 12;
const plane = usePlane({ settings: { environmentConcurrencyLimit: ENVIRONMENT_LIMIT, environmentBurstFactor: 1 } });

describe("whatever callers and nodes do", () => {
  it(
    "keeps one latest snapshot per run, goes along the table, stays within the limits, runs nothing twice and loses no wake-up (L8, L9)",
    { timeout: 60_000 },
    async () => {
      const second = await plane.anotherEngine();
      let runs = 0;
      await fc.assert(
        fc.asyncProperty(fc.array(fc.array(deed, { minLength: 1, maxLength: 3 }), { minLength: 10, maxLength: 60 }), async (steps) => {
          const scene = await plane.scene();
          const world = new World(plane, scene, [plane.engine, second]);
          const invariants = new Invariants(scene, { environment: ENVIRONMENT_LIMIT, queues: { single: 1 } });
          for (const atOnce of steps) {
            await Promise.all(atOnce.map((one) => world.do(one)));
            await invariants.check();
          }
          await world.bringToAnEnd(invariants);
          runs++;
          await plane.endScenes();
        }),
        { numRuns: 1_000, interruptAfterTimeLimit: SECONDS * 1_000, endOnFailure: true },
      );
      expect(runs).toBeGreaterThan(0);
    },
  );
});
