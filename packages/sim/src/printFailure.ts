import type { Failure } from "./runSeed.ts";
import type { Fault, When } from "./scenario/scenario.ts";

/** A failure as people read it: the law, what is left of the scenario, and what happened. */
export function printFailure({ seed, profile, law, text, scenario, history }: Failure): string[] {
  const { settings, runs, faults } = scenario;
  return [
    `seed ${seed} (${profile}) breaks ${law}: ${text}`,
    "",
    "The smallest plane that still does:",
    `  ${settings.nodes} node(s), warm starts ${settings.warmStarts ? "on" : "off"}, sleep after ${settings.snapshotDelayMs} ms, hold ${settings.holdMs} ms, poll ${settings.pollSeconds} s`,
    ...runs.map(
      ({ triggerAtMs, steps }, index) =>
        `  run ${index + 1}: at ${triggerAtMs} ms; ${steps.map((step) => ("ms" in step ? `${step.kind} ${step.ms} ms` : step.kind)).join(", ")}`,
    ),
    ...(faults.length === 0 ? ["  nothing goes wrong"] : faults.map((fault) => `  ${faultText(fault)}`)),
    "",
    "What happened:",
    ...history,
  ];
}

function faultText(fault: Fault): string {
  const { kind, ...rest } = fault;
  const when = "when" in fault ? whenText(fault.when) : `from ${fault.fromMs} to ${fault.toMs} ms`;
  const details = Object.entries(rest)
    .filter(([name]) => !["when", "fromMs", "toMs"].includes(name))
    .map(([name, value]) => `${name} ${String(value)}`);
  return `${kind} ${when}${details.length === 0 ? "" : ` (${details.join(", ")})`}`;
}

function whenText(when: When): string {
  return "atMs" in when ? `at ${when.atMs} ms` : `${when.delayMs} ms after ${when.point}, the ${when.nth}. time`;
}
