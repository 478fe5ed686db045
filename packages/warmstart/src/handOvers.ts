// Runs that were given to an idle runner whose supervisor tells what becomes of them (L12).
import type { HandOverOutcome } from "@torpor/contracts";
import type { Clock } from "@torpor/kernel";

/** A little more than the supervisor waits for a sign of its runner: its word comes first, this is for a supervisor that has died. */
const SETTLED_WITHIN_MS = 1_100;

/** What is waited for, by runner and run. Bounded by the offers that are open. */
export class HandOvers {
  readonly #clock: Clock;
  readonly #waiting = new Map<string, (outcome: HandOverOutcome) => void>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** What becomes of the run; `silent` when nobody says so in time. Ask before the run is given: the word may come at once. */
  expect(controllerId: string, runId: string): Promise<HandOverOutcome> {
    const key = keyOf(controllerId, runId);
    return new Promise((resolve) => {
      const settle = (outcome: HandOverOutcome): void => {
        timer.cancel();
        if (this.#waiting.get(key) === settle) this.#waiting.delete(key);
        resolve(outcome);
      };
      const timer = this.#clock.after(SETTLED_WITHIN_MS, () => settle("silent"));
      this.#waiting.get(key)?.("silent");
      this.#waiting.set(key, settle);
    });
  }

  /** The supervisor's word. One that is not waited for changes nothing. */
  settle(controllerId: string, runId: string, outcome: HandOverOutcome): void {
    this.#waiting.get(keyOf(controllerId, runId))?.(outcome);
  }

  close(): void {
    for (const settle of this.#waiting.values()) settle("silent");
  }
}

function keyOf(controllerId: string, runId: string): string {
  return JSON.stringify([controllerId, runId]);
}
