/** What the exit codes of every command mean. */
export const EXIT = {
  ok: 0,
  /** The command worked, what it ran did not: a run failed, a check or a test did not pass. */
  failed: 1,
  /** The command line is wrong. */
  usage: 2,
  /** The plane cannot be reached. */
  unreachable: 3,
  /** What was named does not exist. */
  notFound: 4,
  /** Something is missing on this machine; the message says what mends it. */
  missing: 5,
  /** The plane refused. */
  refused: 6,
  /** A fault of Torpor itself. */
  internal: 70,
} as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** Ends a command with a message for the user and an exit code. */
export class CommandFailure extends Error {
  override readonly name = "CommandFailure";
  readonly exitCode: ExitCode;
  /** What to do next, if there is something. */
  readonly hint: string | undefined;

  constructor(exitCode: ExitCode, message: string, hint?: string) {
    super(message);
    this.exitCode = exitCode;
    this.hint = hint;
  }
}
