// Time as a queue of events. Nothing waits for anything real: when an event has been dealt with, to the last promise that is
// ready, time leaps to the next one.
import type { Timer } from "@torpor/kernel";

class Event implements Timer {
  readonly atMs: number;
  readonly order: number;
  /** Null: it has happened, or was cancelled. */
  fire: (() => void) | null;

  constructor(atMs: number, order: number, fire: () => void) {
    this.atMs = atMs;
    this.order = order;
    this.fire = fire;
  }

  cancel(): void {
    this.fire = null;
  }
}

/** How many steps are queued at once: between two of them Node lets every ready promise run, and only that. */
const STEPS_AT_ONCE = 64;

export class VirtualTime {
  readonly #heap: Event[] = [];
  #nowMs = 0;
  #order = 0;
  #eventCount = 0;

  get nowMs(): number {
    return this.#nowMs;
  }

  /** How many events have happened. */
  get eventCount(): number {
    return this.#eventCount;
  }

  /** Calls `fire` after `delayMs`; ties in the order in which they were set. */
  after(delayMs: number, fire: () => void): Timer {
    const event = new Event(this.#nowMs + Math.max(0, delayMs), this.#order++, fire);
    this.#push(event);
    return event;
  }

  /** Lets events happen until `isOver` says so, or none is left. Rejects with whatever an event throws. */
  run(isOver: () => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      let queued = 0;
      let end: (() => void) | null = null;
      const step = (): void => {
        queued--;
        if (end === null) {
          try {
            if (isOver() || !this.#step()) end = resolve;
          } catch (error) {
            end = () => reject(error as Error);
          }
        }
        if (queued > 0) return;
        if (end === null) refill();
        else end();
      };
      const refill = (): void => {
        queued = STEPS_AT_ONCE;
        for (let index = 0; index < STEPS_AT_ONCE; index++) setImmediate(step);
      };
      refill();
    });
  }

  #step(): boolean {
    for (;;) {
      const event = this.#pop();
      if (event === undefined) return false;
      if (event.fire === null) continue;
      this.#nowMs = event.atMs;
      this.#eventCount++;
      const { fire } = event;
      event.fire = null;
      fire();
      return true;
    }
  }

  #push(event: Event): void {
    const heap = this.#heap;
    let at = heap.push(event) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(event, heap[parent] as Event)) break;
      heap[at] = heap[parent] as Event;
      at = parent;
    }
    heap[at] = event;
  }

  #pop(): Event | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || heap.length === 0) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1] as Event, heap[child] as Event)) child++;
      if (!isBefore(heap[child] as Event, last)) break;
      heap[at] = heap[child] as Event;
      at = child;
    }
    heap[at] = last;
    return first;
  }
}

function isBefore(a: Event, b: Event): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}
