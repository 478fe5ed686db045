// What happened, in order: for the checkers, and for people.
import { createHash } from "node:crypto";

export interface Entry {
  readonly atMs: number;
  /** Who: a process, a sandbox, a link. */
  readonly who: string;
  readonly what: string;
  readonly facts: Readonly<Record<string, unknown>>;
}

export class History {
  readonly entries: Entry[] = [];
  readonly #nowMs: () => number;

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  add(who: string, what: string, facts: Readonly<Record<string, unknown>> = {}): void {
    this.entries.push({ atMs: this.#nowMs(), who, what, facts });
  }

  /** Equal for equal histories. */
  hash(): string {
    const hash = createHash("sha256");
    for (const { atMs, who, what, facts } of this.entries) hash.update(`${atMs}|${who}|${what}|${JSON.stringify(facts)}\n`);
    return hash.digest("hex").slice(0, 16);
  }
}
