// A runner without a run: it polls for one, until it has done so for long enough.
import type { RunnerAnswer, RunnerShell } from "./runnerShell.ts";

const KEEP_IDLE_MS = 60_000;
const POLL_AGAIN_MS = 1_000;
const NO_RUN = { runId: "", snapshotId: "" };

export class IdleRunner {
  readonly #shell: RunnerShell;
  readonly #onRun: (runId: string, snapshotId: string) => void;

  constructor(shell: RunnerShell, onRun: (runId: string, snapshotId: string) => void) {
    this.#shell = shell;
    this.#onRun = onRun;
  }

  /** It asks for a run, if it may. */
  begin(): void {
    const { memory } = this.#shell;
    memory.mode = "idle";
    if (!memory.warmStarts) return this.#exit();
    memory.idleUntilMs = this.#shell.nowMs() + KEEP_IDLE_MS;
    this.#shell.call("connect", "connect", NO_RUN);
  }

  onAnswer(kind: "connect" | "poll", answer: RunnerAnswer): void {
    const { memory } = this.#shell;
    if (memory.mode !== "idle") return;
    const message =
      answer.kind === "ok" ? (answer.body as { run?: { friendlyId: string }; snapshot?: { friendlyId: string } } | undefined) : undefined;
    if (kind === "poll" && message?.run !== undefined && message.snapshot !== undefined) {
      return this.#onRun(message.run.friendlyId, message.snapshot.friendlyId);
    }
    const isOver = this.#shell.nowMs() >= memory.idleUntilMs || (kind === "poll" && answer.kind === "refused");
    if (isOver || (kind === "connect" && answer.kind !== "ok")) return this.#exit();
    if (kind === "poll") this.#shell.setTimer("pollAgain", POLL_AGAIN_MS);
    else this.#shell.call("poll", "poll", NO_RUN);
  }

  #exit(): void {
    this.#shell.memory.mode = "exited";
    this.#shell.exit(0);
  }
}
