// What a sleep costs on this node, as measured, in milliseconds for which one sandbox's memory could be held instead.
//
// A node has cpu and memory, and both run out in proportion. A sleep keeps `BUSY_CPUS` busy while it freezes and while it wakes:
// that is a share of the node's cpu for some time. A sandbox that is held is a share of the node's memory for some time. Where
// both products are equal, is the break-even. It hardly depends on the size of the machine, since machines with more cpu have
// more memory, too.
import { GIB } from "@torpor/kernel";

/** The node's machine, and what a waiting sandbox occupies of it. */
export interface NodeSize {
  readonly cpuTotal: number;
  readonly memoryTotalBytes: number;
}

/** What `planSleep` weighs. */
export interface SleepPrices {
  /** What a sleep costs when the wait's end is known: it is awake again in time. */
  readonly knownEndMs: number;
  /** What it costs when the end is not known: besides, the task goes on later by the wake. */
  readonly unknownEndMs: number;
  /** Median time to freeze one. */
  readonly freezeMs: number;
  /** 95th percentile of the time from the decision to wake one until it is ready to go on. */
  readonly wakeP95Ms: number;
}

/** Cores that one freeze or wake keeps busy, the disk included. Measured on 2 cores, see bench/sleep.bench.ts. */
const BUSY_CPUS = 1.5;
/** A task that goes on a millisecond late is as bad as holding one sandbox for so many. A choice: users see lateness, not memory. */
const LATENESS_WEIGHT = 10;
const MIN_BREAK_EVEN_MS = 1_000;
const MAX_BREAK_EVEN_MS = 60_000;

/** Until something was measured: medians of an idle 2-core machine, and a p95 that leaves room: who is ready too early only idles. */
const FIRST_FREEZE_MS = 140;
const FIRST_WAKE_MS = 250;
const FIRST_WAKE_P95_MS = 600;
const FIRST_SANDBOX_BYTES = 170e6;

/** Measurements that are kept of each kind; older ones go. */
const KEPT = 64;
/** Below this many, the first guesses count as well. */
const ENOUGH = 8;

/** Keeps what was measured, and says what a sleep costs. */
export class NodeCosts {
  readonly #freezeMs = new Recent([FIRST_FREEZE_MS]);
  readonly #wakeMs = new Recent([FIRST_WAKE_MS, FIRST_WAKE_P95_MS]);
  readonly #sandboxBytes = new Recent([FIRST_SANDBOX_BYTES]);
  #size: NodeSize | null = null;

  /** A sandbox stood still for so long until its memory was on disk. */
  froze(durationMs: number): void {
    this.#freezeMs.add(durationMs);
  }

  /** A sandbox was ready to go on so long after we had decided to wake it. */
  woke(durationMs: number): void {
    this.#wakeMs.add(durationMs);
  }

  /** A waiting sandbox was seen to occupy so much. */
  held(memoryBytes: number): void {
    this.#sandboxBytes.add(memoryBytes);
  }

  /** The machine. A foreign gateway does not tell; then an ordinary one is assumed. */
  resize(size: NodeSize): void {
    this.#size = size;
  }

  prices(): SleepPrices {
    const { cpuTotal, memoryTotalBytes } = this.#size ?? ORDINARY;
    const freezeMs = this.#freezeMs.quantile(0.5);
    const wakeMs = this.#wakeMs.quantile(0.5);
    const cpuMs = ((freezeMs + wakeMs) * BUSY_CPUS) / cpuTotal;
    const memoryShare = this.#sandboxBytes.quantile(0.5) / memoryTotalBytes;
    const knownEndMs = cpuMs / memoryShare + freezeMs + wakeMs;
    return {
      knownEndMs: clamped(knownEndMs),
      unknownEndMs: clamped(knownEndMs + LATENESS_WEIGHT * wakeMs),
      freezeMs,
      wakeP95Ms: this.#wakeMs.quantile(0.95),
    };
  }
}

const ORDINARY: NodeSize = { cpuTotal: 2, memoryTotalBytes: 8 * GIB };

function clamped(breakEvenMs: number): number {
  return Math.min(MAX_BREAK_EVEN_MS, Math.max(MIN_BREAK_EVEN_MS, breakEvenMs));
}

/** The last measurements of one thing. */
class Recent {
  readonly #values: number[];
  #measured = 0;
  readonly #guesses: number;

  constructor(guesses: readonly number[]) {
    this.#values = [...guesses];
    this.#guesses = guesses.length;
  }

  add(value: number): void {
    this.#measured++;
    if (this.#measured === ENOUGH) this.#values.splice(0, this.#guesses);
    this.#values.push(value);
    if (this.#values.length > KEPT) this.#values.shift();
  }

  /** Nearest rank. */
  quantile(share: number): number {
    const sorted = this.#values.toSorted((a, b) => a - b);
    return sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)] ?? 0;
  }
}
