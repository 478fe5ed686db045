import type { Clock } from "@torpor/kernel";

export interface RememberedOptions {
  readonly clock: Clock;
  /** How long an answer is good. Bounds how late another process's change is seen. */
  readonly keepMs: number;
  readonly maxEntries: number;
}

/** Remembers answers for a short time, so that each request need not ask the database who is calling. Absence is not remembered. */
export class Remembered<V> {
  readonly #options: RememberedOptions;
  readonly #entries = new Map<string, { readonly value: V; readonly untilMs: number }>();

  constructor(options: RememberedOptions) {
    this.#options = options;
  }

  async get(key: string, ask: () => Promise<V | null>): Promise<V | null> {
    const { clock, keepMs, maxEntries } = this.#options;
    const nowMs = clock.monotonicMs();
    const known = this.#entries.get(key);
    if (known !== undefined && known.untilMs > nowMs) return known.value;
    const value = await ask();
    this.#entries.delete(key);
    if (value === null) return null;
    const oldest = this.#entries.keys().next();
    if (this.#entries.size >= maxEntries && oldest.done !== true) this.#entries.delete(oldest.value);
    this.#entries.set(key, { value, untilMs: nowMs + keepMs });
    return value;
  }
}
