import { spawn, type ChildProcess } from "node:child_process";
import { openSync, closeSync } from "node:fs";
import { backoffMs, sleep, type Clock } from "@torpor/kernel";
import { CommandFailure, EXIT } from "../exitCodes.ts";

/** How a part is started: a program, its environment, and where its output goes. */
export interface PartCommand {
  readonly name: string;
  readonly program: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  readonly logFile: string;
  /** Resolves when the part can be used; rejects or resolves false when it is not (yet). */
  readonly isReady: () => Promise<boolean>;
}

export interface PartProcessOptions {
  readonly clock: Clock;
  readonly random: () => number;
  /** Told when the part ended without being asked to. */
  readonly onUnexpectedExit: (name: string, how: string) => void;
}

const READY_WITHIN_MS = 30_000;
const READY_POLL_MS = 25;
/** Drains must fit: the supervisor and the gateway promise to be done in 10 s. */
const STOP_WITHIN_MS = 15_000;
/** A part that dies more often than this within a minute is not started again. */
const MAX_RESTARTS_PER_MINUTE = 10;

/**
 * One part of the plane as a child process. It is started again when it dies, its output goes to a file, and it dies with us:
 * it holds the reading end of a pipe from us and stops when that closes, even when we are killed.
 */
export class PartProcess {
  readonly #command: PartCommand;
  readonly #options: PartProcessOptions;
  readonly #stop = new AbortController();
  readonly #exits: number[] = [];
  #child: ChildProcess | undefined;
  #exited: Promise<void> = Promise.resolve();

  constructor(command: PartCommand, options: PartProcessOptions) {
    this.#command = command;
    this.#options = options;
  }

  get name(): string {
    return this.#command.name;
  }

  /** Process id of the running child, if there is one. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Starts the part and waits until it can be used. */
  async start(): Promise<void> {
    this.#spawn();
    const deadlineMs = this.#options.clock.monotonicMs() + READY_WITHIN_MS;
    while (!(await this.#ready())) {
      if (this.#options.clock.monotonicMs() > deadlineMs)
        throw new CommandFailure(
          EXIT.failed,
          `Cannot start ${this.name}: not ready after ${READY_WITHIN_MS / 1000} s`,
          `see ${this.#command.logFile}`,
        );
      if (this.#exits.length >= MAX_RESTARTS_PER_MINUTE)
        throw new CommandFailure(EXIT.failed, `Cannot start ${this.name}: it keeps ending`, `see ${this.#command.logFile}`);
      await sleep(this.#options.clock, READY_POLL_MS);
    }
  }

  /** Sends a signal as an operator or a fault would; the part is started again if it dies of it. */
  kill(signal: NodeJS.Signals): void {
    this.#child?.kill(signal);
  }

  /** Asks the part to drain and stop; kills it when it does not. */
  async stop(): Promise<void> {
    this.#stop.abort();
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    child.kill("SIGTERM");
    const timer = this.#options.clock.after(STOP_WITHIN_MS, () => void child.kill("SIGKILL"));
    await this.#exited;
    timer.cancel();
  }

  async #ready(): Promise<boolean> {
    try {
      return this.#child !== undefined && (await this.#command.isReady());
    } catch {
      return false; // not listening yet is what this polls for; a part that never is fails by the deadline
    }
  }

  #spawn(): void {
    const { program, args, env, cwd, logFile } = this.#command;
    const log = openSync(logFile, "a", 0o600);
    const child = spawn(program, args, { cwd, env: { ...env, TORPOR_STOP_WITH_STDIN: "1" }, stdio: ["pipe", log, log], detached: true });
    closeSync(log);
    child.stdin?.on("error", () => {}); // the child's death closes the pipe; its exit is what counts
    this.#child = child;
    this.#exited = new Promise((resolve) => {
      child.once("error", (error) => void this.#onExit(error.message).then(resolve));
      child.once("exit", (code, signal) => void this.#onExit(signal ?? `code ${code}`).then(resolve));
    });
  }

  async #onExit(how: string): Promise<void> {
    if (this.#stop.signal.aborted) return;
    const nowMs = this.#options.clock.monotonicMs();
    while (this.#exits.length > 0 && nowMs - (this.#exits[0] ?? 0) > 60_000) this.#exits.shift();
    this.#exits.push(nowMs);
    this.#options.onUnexpectedExit(this.name, how);
    if (this.#exits.length >= MAX_RESTARTS_PER_MINUTE) return;
    const delayMs = backoffMs(this.#exits.length, { baseMs: 100, factor: 2, maxMs: 5_000, random: this.#options.random });
    if ((await sleep(this.#options.clock, delayMs, this.#stop.signal)) === "slept") this.#spawn();
  }
}
