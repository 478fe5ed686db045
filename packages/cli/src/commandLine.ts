import { Command as Commander, CommanderError } from "commander";
import type { Command, CommandContext } from "./command.ts";
import { CommandFailure, EXIT, type ExitCode } from "./exitCodes.ts";
import { createTerminal, type Terminal } from "./terminal/terminal.ts";
import { VERSION } from "./version.ts";

export interface CommandLineOptions {
  readonly process: NodeJS.Process;
  readonly repoDir: string;
  readonly stateDir: string;
}

const EXIT_CODES_HELP = `
Exit codes: 0 done · 1 what was run failed · 2 wrong command line · 3 the plane cannot be reached · 4 not found
            5 something is missing on this machine · 6 refused · 70 a fault of Torpor`;

/** Parses the words, runs the command they name, and says with which code the process ends. */
export async function runCommandLine(
  commands: readonly Command[],
  words: readonly string[],
  options: CommandLineOptions,
): Promise<ExitCode> {
  const program = new Commander("torpor");
  program.description("Durable tasks on machines you own: they sleep on disk and wake to the very line.");
  program.version(VERSION).exitOverride().showHelpAfterError("(add --help to see what is possible)").addHelpText("after", EXIT_CODES_HELP);
  let exitCode: ExitCode = EXIT.ok;
  for (const command of commands) {
    addCommand(program, command, async (input) => {
      exitCode = await runOne(command, input, options);
    });
  }
  try {
    await program.parseAsync([...words], { from: "user" });
    return exitCode;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    throw error;
  }
}

interface Parsed {
  readonly args: readonly string[];
  readonly options: Record<string, unknown>;
}

function addCommand(program: Commander, command: Command, run: (input: Parsed) => Promise<void>): void {
  const [first = "", second] = command.name.split(" ");
  const parent = second === undefined ? program : groupOf(program, first);
  const added = parent
    .command(second ?? first)
    .description(command.summary)
    .option("--json", "answer as JSON, for machines");
  added.exitOverride().addHelpText("after", EXIT_CODES_HELP);
  for (const { name, description } of command.args ?? []) added.argument(name, description);
  for (const { flags, description, default: value } of command.options ?? []) added.option(flags, description, value);
  if (command.passThrough === true) added.allowUnknownOption().allowExcessArguments();
  added.action(async () => run({ args: added.args, options: added.opts() }));
}

/** What the first word of a command with two means. */
const GROUPS: Readonly<Record<string, string>> = { runs: "list, show or cancel runs", tokens: "list or complete what runs wait for" };

function groupOf(program: Commander, name: string): Commander {
  const found = program.commands.find((command) => command.name() === name);
  return (
    found ??
    program
      .command(name)
      .description(GROUPS[name] ?? "")
      .exitOverride()
  );
}

async function runOne(command: Command, input: Parsed, { process, repoDir, stateDir }: CommandLineOptions): Promise<ExitCode> {
  const terminal = createTerminal({ out: process.stdout, err: process.stderr, env: process.env }, { json: input.options["json"] === true });
  const stop = stopSignal(process);
  const held = setInterval(() => {}, 2 ** 30); // a command may wait on nothing but timers, which do not keep a process alive
  const context: CommandContext = { terminal, env: process.env, cwd: process.cwd(), repoDir, stateDir, signal: stop.signal };
  try {
    return await command.run(context, input);
  } catch (error) {
    return report(error, terminal);
  } finally {
    clearInterval(held);
    stop.release();
  }
}

function report(error: unknown, terminal: Terminal): ExitCode {
  if (error instanceof CommandFailure) {
    if (terminal.json) terminal.value({ error: error.message, hint: error.hint ?? null, exitCode: error.exitCode });
    else terminal.error(error.message, error.hint);
    return error.exitCode;
  }
  terminal.error(
    error instanceof Error ? (error.stack ?? error.message) : String(error),
    "this is a fault of Torpor: please report it with the lines above",
  );
  return EXIT.internal;
}

/** SIGINT and SIGTERM ask to stop; so does the end of standard input when a parent process holds it. A second signal ends at once. */
function stopSignal(process: NodeJS.Process): { readonly signal: AbortSignal; release(): void } {
  const controller = new AbortController();
  const onSignal = (): void => {
    if (controller.signal.aborted) process.exit(130);
    controller.abort();
  };
  const onParentGone = (): void => controller.abort();
  process.on("SIGINT", onSignal).on("SIGTERM", onSignal);
  const watchesParent = process.env["TORPOR_STOP_WITH_STDIN"] === "1";
  if (watchesParent) process.stdin.on("end", onParentGone).on("error", onParentGone).resume();
  return {
    signal: controller.signal,
    release() {
      process.off("SIGINT", onSignal).off("SIGTERM", onSignal);
      if (watchesParent) process.stdin.off("end", onParentGone).destroy();
    },
  };
}
