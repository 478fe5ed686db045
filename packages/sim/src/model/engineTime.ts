import type { Timer } from "@torpor/kernel";
import type { VirtualTime } from "../kernel/virtualTime.ts";

const EPOCH_MS = 1_700_000_000_000;

/** Time as the engine has it: nobody turns its clock. */
export class EngineTime {
  readonly #time: VirtualTime;

  constructor(time: VirtualTime) {
    this.#time = time;
  }

  /** Since the plane began. */
  get nowMs(): number {
    return this.#time.nowMs;
  }

  /** Wall time. */
  get epochMs(): number {
    return Math.floor(EPOCH_MS + this.#time.nowMs);
  }

  after(delayMs: number, fire: () => void): Timer {
    return this.#time.after(delayMs, fire);
  }
}
