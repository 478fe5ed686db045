import type { Runner } from "./runner.ts";

const MAX_REMEMBERED = 10_000;

/** Names that the runners of sleeping runs have had: whoever is restored from them answers to all of these. */
export class Lineages {
  readonly #byRun = new Map<string, readonly string[]>();

  /** A runner was put to sleep. */
  remember(runId: string, runner: Pick<Runner, "lineage" | "name">): void {
    this.#byRun.set(runId, [...runner.lineage, runner.name]);
    if (this.#byRun.size > MAX_REMEMBERED) this.#byRun.delete(this.#byRun.keys().next().value ?? "");
  }

  /** The names of the run's sleeping runner, which wakes now. Undefined: it fell asleep elsewhere, or before a restart. */
  take(runId: string): readonly string[] | undefined {
    const names = this.#byRun.get(runId);
    this.#byRun.delete(runId);
    return names;
  }
}
