// L6, L8 and L9 as a user sees them: within an attempt every line of the task runs once, in order, whoever runs it, and none runs
// before its wait has ended.
import type { ExecutionMemory } from "../model/runnerMemory.ts";
import type { Context } from "../world/context.ts";

export class StepCheck {
  readonly #context: Context;
  readonly #next = new Map<string, { position: number; by: string }>();

  constructor(context: Context) {
    this.#context = context;
  }

  stepped(sandboxId: string, { runId, attempt, position }: ExecutionMemory): void {
    const key = `${runId} attempt ${attempt}`;
    const last = this.#next.get(key);
    if (position !== (last?.position ?? 0))
      this.#context.violation(
        "L8",
        `${key}: line ${position} is run by ${sandboxId}, after ${last?.by ?? "nobody"} had come to ${last?.position ?? 0}`,
      );
    this.#next.set(key, { position: position + 1, by: sandboxId });
    const run = this.#context.engine.run(runId);
    const step = run.plan.steps[position];
    if (step?.kind !== "wait") return;
    const isOver = run.history.some(
      ({ snapshot, completedWaitpoints }) =>
        snapshot.executionStatus === "EXECUTING" &&
        completedWaitpoints.some(({ friendlyId }) => friendlyId === run.waits.get(`${attempt}:${position}`)),
    );
    if (!isOver) this.#context.violation("L9", `${key}: ${sandboxId} goes on behind line ${position}, before its wait has ended`);
  }
}
