import { MUTANTS, printFailure, PROFILES, SimThread, simulate, type Failure, type Mutant, type ProfileName } from "@torpor/sim";
import { flagOption, textOption, type Command, type CommandContext, type CommandInput } from "../command.ts";
import { CommandFailure, EXIT } from "../exitCodes.ts";

const DEFAULT_SEEDS = 1_000;
const MAX_SEED = Number.MAX_SAFE_INTEGER;
const PROGRESS_MS = 2_000;

/** Runs the supervisors and gateways of whole planes in simulated time, and holds what happens against the laws. */
export const sim: Command = {
  name: "sim",
  summary: "simulate planes in which everything goes wrong (docs/simulation.md)",
  options: [
    { flags: "--seed <n>", description: "this one alone; a failure is made small and told in full" },
    { flags: "--seeds <n>", description: `how many, on all cores (${DEFAULT_SEEDS})` },
    { flags: "--from <n>", description: "the first of them (1)" },
    { flags: "--profile <name>", description: `what they are about: ${Object.keys(PROFILES).join(", ")} (mixed)` },
    { flags: "--mutant <name>", description: "with this guard taken away; `list` shows them" },
    { flags: "--exhaustive", description: "explore the small core completely instead" },
  ],
  async run(context, input) {
    if (flagOption(input, "exhaustive")) return await explore(context);
    if (textOption(input, "mutant") === "list") return list(context);
    const mutant = mutantOption(input);
    const profile = profileOption(input, mutant);
    const seed = numberOption(input, "seed");
    const single = seed !== undefined;
    const startedMs = performance.now();
    const result = await simulate({
      fromSeed: seed ?? numberOption(input, "from") ?? 1,
      count: single ? 1 : (numberOption(input, "seeds") ?? DEFAULT_SEEDS),
      profile,
      mutant,
      shrinks: single,
      stopsAtFirst: false,
      signal: context.signal,
      onProgress: progress(context),
    });
    const seconds = (performance.now() - startedMs) / 1000;
    for (const failure of result.failures) tell(context, failure, single);
    context.terminal.value({ ...result, profile, mutant: mutant?.name ?? null, seconds });
    const { length } = result.failures;
    context.terminal.line(`${result.done} seeds (${profile}), ${result.events} events, ${seconds.toFixed(1)} s: ${length} failed`);
    return length === 0 ? EXIT.ok : EXIT.failed;
  },
};

function tell(context: CommandContext, failure: Failure, inFull: boolean): void {
  if (inFull) return printFailure(failure).forEach((line) => context.terminal.line(line));
  const profile = failure.profile === "mixed" ? "" : ` --profile ${failure.profile}`;
  context.terminal.line(`${failure.law}: ${failure.text}\n  ./torpor sim --seed ${failure.seed}${profile}`);
}

function progress(context: CommandContext): (done: number, failures: readonly Failure[]) => void {
  let toldMs = performance.now();
  return (done, failures) => {
    if (performance.now() - toldMs < PROGRESS_MS) return;
    toldMs = performance.now();
    context.terminal.progress(`${done} seeds, ${failures.length} failed`);
  };
}

async function explore(context: CommandContext) {
  const thread = new SimThread(null);
  try {
    const { exploration } = await thread.ask({ kind: "explore" });
    context.terminal.value(exploration);
    context.terminal.line(
      `${exploration.states} states, ${exploration.steps} steps, ${exploration.ends} ends: ${exploration.broken ?? "every law holds"}`,
    );
    for (const step of exploration.path) context.terminal.line(`  ${step}`);
    return exploration.broken === null ? EXIT.ok : EXIT.failed;
  } finally {
    await thread.close();
  }
}

function list(context: CommandContext) {
  context.terminal.value(MUTANTS.map(({ name, guard, laws, profile }) => ({ name, guard, laws, profile })));
  for (const { name, guard, laws } of MUTANTS) context.terminal.line(`${name.padEnd(32)} ${laws.join(", ").padEnd(8)} ${guard}`);
  return EXIT.ok;
}

function mutantOption(input: CommandInput): Mutant | null {
  const name = textOption(input, "mutant");
  if (name === undefined) return null;
  const found = MUTANTS.find((mutant) => mutant.name === name);
  if (found === undefined) throw new CommandFailure(EXIT.notFound, `Cannot find mutant ${name}`, "./torpor sim --mutant list");
  return found;
}

function profileOption(input: CommandInput, mutant: Mutant | null): ProfileName {
  const name = textOption(input, "profile") ?? mutant?.profile ?? "mixed";
  if (name in PROFILES) return name as ProfileName;
  throw new CommandFailure(EXIT.usage, `Cannot use --profile ${name}`, `there are: ${Object.keys(PROFILES).join(", ")}`);
}

function numberOption(input: CommandInput, name: string): number | undefined {
  const text = textOption(input, name);
  if (text === undefined) return undefined;
  const value = Number(text);
  if (Number.isSafeInteger(value) && value >= 1 && value <= MAX_SEED) return value;
  throw new CommandFailure(EXIT.usage, `Cannot use --${name} ${text}: it must be a whole number from 1`, `./torpor sim --${name} 1`);
}
