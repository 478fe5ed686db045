import { SeededRandom } from "../kernel/seededRandom.ts";
import { QUIET_AT_MS } from "./anyFault.ts";
import { PROFILES, type ProfileName } from "./profiles.ts";
import type { Scenario } from "./scenario.ts";

/** The scenario of a seed: always the same. */
export function generate(seed: number, profile: ProfileName = "mixed"): Scenario {
  const random = new SeededRandom(seed, `scenario ${profile}`);
  return { seed, ...PROFILES[profile](random), quietAtMs: QUIET_AT_MS };
}
