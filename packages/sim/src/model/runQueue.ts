// Runs that wait to be handed out, and the nodes that ask for them.
import { DEFAULT_SETTINGS, isLost as isNodeLost } from "@torpor/engine/rules";
import type { EngineTime } from "./engineTime.ts";
import type { ModelRun } from "./modelRun.ts";

export class RunQueue {
  readonly runs = new Map<string, ModelRun>();
  readonly #time: EngineTime;
  readonly #waiting = new Set<() => void>();
  readonly #nodesHeardAtMs = new Map<string, number>();

  constructor(time: EngineTime) {
    this.#time = time;
  }

  /** The node is there. */
  nodeHeard(node: string): void {
    this.#nodesHeardAtMs.set(node, this.#time.epochMs);
  }

  /** Takes the run that has waited longest of those that the node may have, as soon as there is one; undefined: not in time. */
  async next<T>(
    node: string,
    options: { readonly waitMs: number; readonly signal: AbortSignal },
    take: (run: ModelRun) => T,
  ): Promise<T | undefined> {
    const untilMs = this.#time.nowMs + options.waitMs;
    this.nodeHeard(node);
    for (;;) {
      if (options.signal.aborted) return undefined;
      const run = this.#ready(node);
      if (run !== undefined) return take(run);
      if (this.#time.nowMs >= untilMs) return undefined;
      await this.#something(untilMs - this.#time.nowMs, options.signal);
    }
  }

  #ready(node: string): ModelRun | undefined {
    let best: ModelRun | undefined;
    for (const run of this.runs.values()) {
      if (run.status !== "QUEUED" || run.readyAtMs > this.#time.nowMs) continue;
      if (run.checkpoint !== null && run.checkpoint.node !== node && !this.isLost(run.checkpoint.node)) continue;
      if (best === undefined || run.readyAtMs < best.readyAtMs) best = run;
    }
    return best;
  }

  /** It has not been heard of for too long. */
  isLost(node: string): boolean {
    const heardAtMs = this.#nodesHeardAtMs.get(node);
    return isNodeLost(heardAtMs === undefined ? null : new Date(heardAtMs), new Date(this.#time.epochMs), DEFAULT_SETTINGS.nodeLostAfterMs);
  }

  /** Something has changed: who waits looks again. */
  wake(): void {
    for (const wake of Array.from(this.#waiting)) wake();
  }

  #something(withinMs: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        timer.cancel();
        this.#waiting.delete(done);
        resolve();
      };
      const timer = this.#time.after(withinMs, done);
      this.#waiting.add(done);
      signal.addEventListener("abort", done, { once: true });
    });
  }
}
