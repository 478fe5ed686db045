import type { Clock, Timer } from "@torpor/kernel";
import { SeededRandom } from "./seededRandom.ts";
import type { VirtualTime } from "./virtualTime.ts";

const EPOCH_MS = 1_700_000_000_000;

/** The wall clock of one machine, which somebody may turn. */
export interface WallClock {
  offsetMs: number;
}

/**
 * One process of the simulated plane. Whatever reaches it, or leaves it, passes through here or through the network, the disk
 * and the driver, which ask whether it lives: a killed one is never heard of again, and nothing in it runs on.
 */
export class SimProcess {
  readonly name: string;
  readonly random: SeededRandom;
  readonly clock: Clock;
  readonly #time: VirtualTime;
  readonly #listeners = new Set<() => void>();
  #alive = true;

  constructor(options: { name: string; generation: number; seed: number; time: VirtualTime; wall: WallClock }) {
    const { name, generation, seed, time, wall } = options;
    this.name = name;
    this.#time = time;
    this.random = new SeededRandom(seed, `${name}#${generation}`);
    const startMs = time.nowMs;
    this.clock = {
      nowMs: () => Math.floor(EPOCH_MS + wall.offsetMs + time.nowMs), // whole milliseconds, as the real one gives
      monotonicMs: () => time.nowMs - startMs,
      after: (delayMs, fire) => this.#after(delayMs, fire),
    };
  }

  get alive(): boolean {
    return this.#alive;
  }

  kill(): void {
    this.#alive = false;
    for (const listener of this.#listeners) listener();
    this.#listeners.clear();
  }

  /** Calls `listener` when the process is killed; the result takes it back. */
  onKill(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  #after(delayMs: number, fire: () => void): Timer {
    return this.#time.after(delayMs, () => {
      if (this.#alive) fire();
    });
  }
}
