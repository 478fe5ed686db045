import type { InstanceEvent, RunnerId } from "@torpor/contracts";
import type { Clock } from "@torpor/kernel";

/** Older ones are dropped: a reader that is this far behind asks for the list of instances instead. */
const KEPT = 10_000;

export interface EventPage {
  readonly events: InstanceEvent[];
  readonly next: number;
}

/** What happened to sandboxes without being asked for, in order, for readers who wait. */
export class EventLog {
  readonly #clock: Clock;
  readonly #events: InstanceEvent[] = [];
  readonly #waiting = new Set<() => void>();
  #cursor: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    // Cursors of an earlier process are smaller: whoever comes with one is told everything since this start.
    this.#cursor = Math.floor(clock.nowMs()) * 1_000;
  }

  push(event: {
    readonly type: InstanceEvent["type"];
    readonly name: RunnerId;
    readonly id: string;
    readonly exitCode: number | null;
    readonly reason: string;
  }): void {
    this.#cursor++;
    this.#events.push({ ...event, cursor: this.#cursor, at: new Date(this.#clock.nowMs()) });
    if (this.#events.length > KEPT) this.#events.shift();
    for (const wake of this.#waiting) wake();
  }

  /** What came after `after`; waits up to `waitMs` for something. */
  async after(after: number, waitMs: number, signal: AbortSignal): Promise<EventPage> {
    const first = this.#since(after);
    if (first.events.length > 0 || waitMs === 0 || signal.aborted) return first;
    await this.#something(waitMs, signal);
    return this.#since(after);
  }

  /** Lets all readers go. */
  close(): void {
    for (const wake of this.#waiting) wake();
  }

  #since(after: number): EventPage {
    return { events: this.#events.filter((event) => event.cursor > after), next: this.#cursor };
  }

  #something(waitMs: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        timer.cancel();
        this.#waiting.delete(wake);
        signal.removeEventListener("abort", wake);
        resolve();
      };
      const timer = this.#clock.after(waitMs, wake);
      this.#waiting.add(wake);
      signal.addEventListener("abort", wake, { once: true });
    });
  }
}
