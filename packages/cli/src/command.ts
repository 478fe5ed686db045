import { CommandFailure, EXIT, type ExitCode } from "./exitCodes.ts";
import type { Terminal } from "./terminal/terminal.ts";

/** What every command is given. Nothing else of the process is touched by a command. */
export interface CommandContext {
  readonly terminal: Terminal;
  readonly env: NodeJS.ProcessEnv;
  readonly cwd: string;
  /** Root of this checkout. */
  readonly repoDir: string;
  /** Where set-up keeps what it brought: Node, runsc, images' base. */
  readonly stateDir: string;
  /** Fires at SIGINT or SIGTERM. */
  readonly signal: AbortSignal;
}

export interface CommandInput {
  readonly args: readonly string[];
  readonly options: Readonly<Record<string, unknown>>;
}

/** A command as a value: `name` may have two words, the first is then a group. */
export interface Command {
  readonly name: string;
  readonly summary: string;
  /** Commander notation: `<task>`, `[dir]`. */
  readonly args?: readonly { readonly name: string; readonly description: string }[];
  readonly options?: readonly { readonly flags: string; readonly description: string; readonly default?: string | boolean }[];
  /** Passes unknown options on instead of refusing them. */
  readonly passThrough?: boolean;
  run(context: CommandContext, input: CommandInput): Promise<ExitCode>;
}

/** An option's text, or undefined when it was not given. */
export function textOption(input: CommandInput, name: string): string | undefined {
  const value = input.options[name];
  return typeof value === "string" ? value : undefined;
}

export function flagOption(input: CommandInput, name: string): boolean {
  return input.options[name] === true;
}

/** The value of an option that holds JSON, or undefined when it was not given. `example` shows how to quote it for the shell. */
export function jsonOption(input: CommandInput, name: string, example: string): unknown {
  const text = textOption(input, name);
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text);
  } catch (error) {
    const hint = `quote it for the shell, for example --${name} '${example}'`;
    throw new CommandFailure(EXIT.usage, `Cannot read --${name} as JSON: ${(error as Error).message}`, hint);
  }
}
