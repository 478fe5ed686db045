/** What `Limiter.run` tells: the work's result, or that it never began. */
export type LimitedOutcome<T> = { readonly kind: "done"; readonly value: T } | { readonly kind: "aborted" } | { readonly kind: "full" };

export interface LimiterOptions {
  /** How many run at once. */
  readonly limit: number;
  /** How many may wait; one more is refused with `full`, never queued without end. */
  readonly maxWaiting: number;
}

interface Ticket {
  readonly grant: () => void;
}

/** Runs at most `limit` pieces of work at once, in the order in which they came. Waiting can be aborted. */
export class Limiter {
  readonly #options: LimiterOptions;
  readonly #waiting = new Set<Ticket>();
  #running = 0;

  constructor(options: LimiterOptions) {
    this.#options = options;
  }

  get runningCount(): number {
    return this.#running;
  }

  get waitingCount(): number {
    return this.#waiting.size;
  }

  /** Runs `work` when its turn comes. An abort while waiting leaves the queue at once; the work sees later aborts itself. */
  async run<T>(signal: AbortSignal, work: () => Promise<T>): Promise<LimitedOutcome<T>> {
    if (signal.aborted) return { kind: "aborted" };
    if (this.#running >= this.#options.limit) {
      if (this.#waiting.size >= this.#options.maxWaiting) return { kind: "full" };
      if ((await this.#turn(signal)) === "aborted") return { kind: "aborted" };
    } else {
      this.#running++;
    }
    try {
      return { kind: "done", value: await work() };
    } finally {
      this.#release();
    }
  }

  #turn(signal: AbortSignal): Promise<"granted" | "aborted"> {
    return new Promise((resolve) => {
      const onAbort = (): void => {
        this.#waiting.delete(ticket);
        resolve("aborted");
      };
      const ticket: Ticket = {
        grant: () => {
          signal.removeEventListener("abort", onAbort);
          resolve("granted");
        },
      };
      this.#waiting.add(ticket);
      signal.addEventListener("abort", onAbort, { once: true });
    });
  }

  /** Hands the slot to the next in line, or frees it. */
  #release(): void {
    const next = this.#waiting.values().next();
    if (next.done === true) {
      this.#running--;
      return;
    }
    this.#waiting.delete(next.value);
    next.value.grant();
  }
}
