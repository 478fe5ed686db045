// A keyed timer wheel: many deadlines, one loop.
//
// W1  A key has at most one entry; scheduling it again replaces the entry.
// W2  Nothing is due early: an entry becomes due at the first tick that begins at or after its deadline.
// W3  Time is an argument. A clock that steps back is ignored; one that leaps visits each slot once.

interface Entry<T> {
  readonly key: string;
  readonly dueTick: number;
  readonly data: T;
}

/** What the wheel is built with: the length of a tick, and how many slots one lap has. */
export interface TimerWheelOptions {
  readonly tickMs: number;
  readonly slotCount: number;
}

/** Holds deadlines in monotonic milliseconds, and hands back what came due when it is advanced. */
export class TimerWheel<T> {
  readonly #tickMs: number;
  /** Made when they are first used: most wheels hold a few deadlines. */
  readonly #slots = new Map<number, Set<string>>();
  readonly #slotCount: number;
  readonly #entries = new Map<string, Entry<T>>();
  #tick: number;

  constructor(options: TimerWheelOptions, nowMs: number) {
    this.#tickMs = options.tickMs;
    this.#slotCount = options.slotCount;
    this.#tick = Math.floor(nowMs / options.tickMs);
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Sets or replaces the entry of `key`; returns what it replaced. Deadlines in the past are due at the next tick. */
  schedule(key: string, dueMs: number, data: T): T | undefined {
    const replaced = this.cancel(key);
    const dueTick = Math.max(Math.ceil(dueMs / this.#tickMs), this.#tick + 1);
    this.#entries.set(key, { key, dueTick, data });
    const index = this.#indexOf(dueTick);
    const slot = this.#slots.get(index) ?? new Set<string>();
    this.#slots.set(index, slot.add(key));
    return replaced;
  }

  /** The entry of `key` without touching it. */
  peek(key: string): T | undefined {
    return this.#entries.get(key)?.data;
  }

  /** Takes the entry of `key` out; undefined when there is none. */
  cancel(key: string): T | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    this.#entries.delete(key);
    const index = this.#indexOf(entry.dueTick);
    const slot = this.#slots.get(index);
    slot?.delete(key);
    if (slot?.size === 0) this.#slots.delete(index);
    return entry.data;
  }

  /** Takes the entry out only when `owns` says that the caller may (L2); undefined when nothing was taken. */
  cancelIf(key: string, owns: (data: T) => boolean): T | undefined {
    const entry = this.#entries.get(key);
    return entry !== undefined && owns(entry.data) ? this.cancel(key) : undefined;
  }

  /** Every entry, in no particular order. */
  *entries(): IterableIterator<readonly [key: string, data: T]> {
    for (const entry of this.#entries.values()) yield [entry.key, entry.data];
  }

  /** Moves time to `nowMs` and returns what came due, in due order. It calls nobody. */
  advance(nowMs: number): T[] {
    const target = Math.floor(nowMs / this.#tickMs);
    const steps = Math.min(target - this.#tick, this.#slotCount);
    const due: Entry<T>[] = [];
    for (let step = 1; step <= steps; step++) {
      for (const key of this.#slots.get(this.#indexOf(this.#tick + step)) ?? []) {
        const entry = this.#entries.get(key);
        if (entry !== undefined && entry.dueTick <= target) due.push(entry);
      }
    }
    for (const entry of due) this.cancel(entry.key);
    this.#tick = Math.max(this.#tick, target);
    return due.sort((a, b) => a.dueTick - b.dueTick).map((entry) => entry.data);
  }

  #indexOf(tick: number): number {
    return ((tick % this.#slotCount) + this.#slotCount) % this.#slotCount;
  }
}
