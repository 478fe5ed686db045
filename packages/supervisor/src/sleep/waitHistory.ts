import { PastWaits, type PastWait } from "./pastWaits.ts";
import type { WaitKind } from "./planSleep.ts";

/** A histogram takes about 1.3 kB: all together stay below 3 MB. */
const MAX_HISTOGRAMS = 2_000;

/** What waits of each task and kind lasted. Those that were not asked for longest make room. */
export class WaitHistory {
  readonly #byKey = new Map<string, PastWaits>();

  get size(): number {
    return this.#byKey.size;
  }

  /** What is known of this task's waits of this kind; null: nothing. */
  of(taskId: string | null, kind: WaitKind): PastWaits | null {
    const key = keyOf(taskId, kind);
    const past = this.#byKey.get(key);
    if (past === undefined) return null;
    this.#byKey.delete(key);
    this.#byKey.set(key, past);
    return past;
  }

  learn(taskId: string | null, kind: WaitKind, wait: PastWait): void {
    let past = this.of(taskId, kind);
    if (past === null) {
      past = new PastWaits();
      this.#byKey.set(keyOf(taskId, kind), past);
      if (this.#byKey.size > MAX_HISTOGRAMS) this.#byKey.delete(this.#byKey.keys().next().value ?? "");
    }
    past.learn(wait);
  }
}

/** Runs whose task is not known (found at a start) share one histogram per kind. */
function keyOf(taskId: string | null, kind: WaitKind): string {
  return `${kind} ${taskId ?? ""}`;
}
