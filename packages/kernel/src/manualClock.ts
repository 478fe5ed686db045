import type { Clock, Timer } from "./clock.ts";

interface Pending {
  readonly dueMs: number;
  readonly order: number;
  readonly fire: () => void;
}

/** A clock that stands still until a test turns it. Timers fire in due order, ties in the order they were set. */
export class ManualClock implements Clock {
  #nowMs: number;
  #monotonicMs = 0;
  #order = 0;
  readonly #pending = new Set<Pending>();

  constructor(startMs = 1_700_000_000_000) {
    this.#nowMs = startMs;
  }

  nowMs(): number {
    return this.#nowMs;
  }

  monotonicMs(): number {
    return this.#monotonicMs;
  }

  after(delayMs: number, fire: () => void): Timer {
    const entry: Pending = { dueMs: this.#monotonicMs + Math.max(0, delayMs), order: this.#order++, fire };
    this.#pending.add(entry);
    return { cancel: () => void this.#pending.delete(entry) };
  }

  /** How many timers are set and have neither fired nor been cancelled. */
  get pendingCount(): number {
    return this.#pending.size;
  }

  /** Milliseconds until the next timer, or undefined when none is set. */
  get nextInMs(): number | undefined {
    const next = this.#next();
    return next === undefined ? undefined : next.dueMs - this.#monotonicMs;
  }

  /** Moves time forward, firing what comes due on the way and letting promises settle between. */
  async advance(byMs: number): Promise<void> {
    const targetMs = this.#monotonicMs + byMs;
    await settle();
    for (let next = this.#next(); next !== undefined && next.dueMs <= targetMs; next = this.#next()) {
      this.#moveTo(next.dueMs);
      this.#pending.delete(next);
      next.fire();
      await settle();
    }
    this.#moveTo(targetMs);
    await settle();
  }

  /** Moves the wall clock alone, as an administrator or NTP would: deadlines do not move. */
  jumpWall(byMs: number): void {
    this.#nowMs += byMs;
  }

  #moveTo(monotonicMs: number): void {
    this.#nowMs += monotonicMs - this.#monotonicMs;
    this.#monotonicMs = monotonicMs;
  }

  #next(): Pending | undefined {
    let best: Pending | undefined;
    for (const entry of this.#pending) {
      if (best === undefined || entry.dueMs < best.dueMs || (entry.dueMs === best.dueMs && entry.order < best.order)) {
        best = entry;
      }
    }
    return best;
  }
}

/** Lets every promise that is ready run, several rounds deep. */
async function settle(): Promise<void> {
  for (let round = 0; round < 5; round++) await new Promise<void>((resolve) => setImmediate(resolve));
}
