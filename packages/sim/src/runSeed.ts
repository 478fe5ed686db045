// One seed: its scenario run to the end, and, when a law is broken, made as small as it still breaks.
import { generate } from "./scenario/generate.ts";
import type { ProfileName } from "./scenario/profiles.ts";
import type { Scenario } from "./scenario/scenario.ts";
import { shrink } from "./scenario/shrink.ts";
import { Plane, type Outcome } from "./world/plane.ts";

export interface Failure {
  readonly seed: number;
  readonly profile: ProfileName;
  readonly law: string;
  readonly text: string;
  /** The smallest scenario that was found to break the same law. */
  readonly scenario: Scenario;
  readonly history: readonly string[];
}

export function runScenario(scenario: Scenario): Promise<Outcome> {
  return new Plane(scenario).run();
}

/** `failure` is null when every law held. */
export async function runSeed(
  seed: number,
  profile: ProfileName,
  options: { readonly shrinks: boolean },
): Promise<{ readonly failure: Failure | null; readonly eventCount: number }> {
  const first = await runScenario(generate(seed, profile));
  const { eventCount } = first;
  const broken = first.violations[0];
  if (broken === undefined) return { failure: null, eventCount };
  const scenario = options.shrinks
    ? await shrink(generate(seed, profile), async (smaller) =>
        (await runScenario(smaller)).violations.some(({ law }) => law === broken.law),
      )
    : generate(seed, profile);
  const last = options.shrinks ? await runScenario(scenario) : first;
  const { law, text } = last.violations[0] ?? broken;
  return { failure: { seed, profile, law, text, scenario, history: lines(last) }, eventCount };
}

const MAX_LINES = 400;

function lines({ history }: Outcome): string[] {
  return history.entries.slice(-MAX_LINES).map(({ atMs, who, what, facts }) => {
    const text = JSON.stringify(facts);
    return `${(atMs / 1000).toFixed(3).padStart(9)} s  ${who.padEnd(20)} ${what}${text === "{}" ? "" : `  ${text}`}`;
  });
}
