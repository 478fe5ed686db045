// The disks of the simulated machines. Whatever the gateway does with files ends up here (see hooks.ts), and takes time.
import { SeededRandom } from "../kernel/seededRandom.ts";
import type { VirtualTime } from "../kernel/virtualTime.ts";
import type { Fault } from "../scenario/scenario.ts";

type DiskFault = Fault & { readonly kind: "disk" };

const FREE_BYTES = 500 * 1024 ** 3;

/** One machine's files. What was not done when its process was killed may have been done, or not. */
export class Disk {
  readonly files = new Map<string, Buffer | "folder">();
  readonly #time: VirtualTime;
  readonly #random: SeededRandom;
  readonly #faults: readonly DiskFault[];
  #pending = new Set<{ readonly apply: () => void; cancel: () => void }>();

  constructor(deps: { time: VirtualTime; seed: number; node: number; faults: readonly Fault[] }) {
    this.#time = deps.time;
    this.#random = new SeededRandom(deps.seed, `disk${deps.node}`);
    this.#faults = deps.faults.filter((fault): fault is DiskFault => fault.kind === "disk" && fault.node === deps.node);
  }

  get freeBytes(): number {
    return this.#isFull() ? 0 : FREE_BYTES;
  }

  /** Does one operation, a moment from now. `grows`: it needs room. */
  do<T>(apply: () => T, options: { readonly grows?: boolean } = {}): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const run = (): void => {
      try {
        if (options.grows === true && this.#isFull()) throw errorOf("ENOSPC", "no space left on device");
        resolve(apply());
      } catch (error) {
        reject(error as Error);
      }
    };
    const timer = this.#time.after(this.#delayMs(), () => {
      this.#pending.delete(operation);
      run();
    });
    const operation = { apply: run, cancel: () => timer.cancel() };
    this.#pending.add(operation);
    return promise;
  }

  /** Its process is killed: each operation under way is done or not, and nobody hears which. */
  kill(): void {
    for (const operation of this.#pending) {
      operation.cancel();
      if (this.#random.chance(0.5)) operation.apply();
    }
    this.#pending = new Set();
  }

  #isFull(): boolean {
    return this.#active().some(({ effect }) => effect === "full");
  }

  #delayMs(): number {
    const slow = this.#active().find(({ effect }) => effect === "slow");
    return 0.05 + this.#random.unit() * (slow === undefined ? 0.3 : slow.slowMs);
  }

  #active(): DiskFault[] {
    if (this.#faults.length === 0) return [];
    return this.#faults.filter(({ fromMs, toMs }) => this.#time.nowMs >= fromMs && this.#time.nowMs < toMs);
  }
}

export function errorOf(code: string, text: string): Error {
  return Object.assign(new Error(`${code}: ${text}`), { code });
}
