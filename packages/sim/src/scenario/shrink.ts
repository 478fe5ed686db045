import type { Scenario } from "./scenario.ts";

/** At most so many smaller scenarios are tried. */
const MAX_TRIES = 150;

/** Takes away faults, runs and steps one by one as long as `stillFails` says that the rest breaks the same law. */
export async function shrink(scenario: Scenario, stillFails: (smaller: Scenario) => Promise<boolean>): Promise<Scenario> {
  let smallest = scenario;
  let tries = 0;
  for (let changed = true; changed;) {
    changed = false;
    for (const candidate of smaller(smallest)) {
      if (++tries > MAX_TRIES) return smallest;
      if (!(await stillFails(candidate))) continue;
      smallest = candidate;
      changed = true;
      break;
    }
  }
  return smallest;
}

function* smaller(scenario: Scenario): Generator<Scenario> {
  const { faults, runs, settings } = scenario;
  for (const index of faults.keys()) yield { ...scenario, faults: faults.toSpliced(index, 1) };
  if (runs.length > 1) for (const index of runs.keys()) yield { ...scenario, runs: runs.toSpliced(index, 1) };
  for (const [at, run] of runs.entries())
    for (const index of run.steps.keys())
      if (run.steps.length > 1) yield { ...scenario, runs: runs.with(at, { ...run, steps: run.steps.toSpliced(index, 1) }) };
  if (settings.nodes > 1) yield { ...scenario, settings: { ...settings, nodes: 1 } };
  if (settings.warmStarts) yield { ...scenario, settings: { ...settings, warmStarts: false } };
}
