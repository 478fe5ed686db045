// The platform's pushes to one node: a set of runs, a connection that breaks and comes back, and what was missed looked up then.
import type { Context } from "./context.ts";
import type { SimNode } from "./simNode.ts";
import { LinkFaults } from "../network/linkFaults.ts";

export class Subscriptions {
  readonly #context: Context;
  readonly #node: SimNode;
  readonly #faults: LinkFaults;
  readonly #runIds = new Set<string>();
  #connected = true;

  constructor(context: Context, node: SimNode) {
    this.#context = context;
    this.#node = node;
    const { time, seed, scenario } = context;
    this.#faults = new LinkFaults({ time, seed: seed + node.index, faults: scenario.faults });
  }

  add(runId: string): void {
    this.#runIds.add(runId);
  }

  delete(runId: string): void {
    this.#runIds.delete(runId);
  }

  clear(): void {
    this.#runIds.clear();
  }

  /** The platform's process ended. */
  disconnect(backAfterMs: number): void {
    this.#connected = false;
    this.#context.time.after(backAfterMs, () => {
      this.#connected = true;
      for (const runId of this.#runIds) this.#deliver(runId);
    });
  }

  notify(runId: string): void {
    if (!this.#connected || !this.#runIds.has(runId)) return;
    const fate = this.#faults.fateOf("platform>supervisor");
    if (fate.loses !== null) return;
    this.#context.time.after(fate.delayMs, () => this.#deliver(runId));
    if (fate.doubledAfterMs !== null) this.#context.time.after(fate.delayMs + fate.doubledAfterMs, () => this.#deliver(runId));
  }

  #deliver(runId: string): void {
    const { core } = this.#node;
    if (core === null || !this.#runIds.has(runId)) return;
    void core.onNotify(runId).catch((error: unknown) => this.#context.violation("unforeseen", `a notification failed: ${String(error)}`));
  }
}
