// Replays the lengths of waits through the real decision, as an intent would ask it, and weighs what that costs. Costs are
// milliseconds for which the sandbox's memory is held; a sleep costs the break-even. Used by tests and by bench/sleepPolicy.bench.ts.
import { NodeCosts, type SleepPrices } from "../src/sleep/nodeCosts.ts";
import { planSleep, type SleepPlan } from "../src/sleep/planSleep.ts";
import { WaitHistory } from "../src/sleep/waitHistory.ts";
import { MIN_BEFORE_FREEZE_MS } from "../src/snapshot/intents.ts";

/** mulberry32: the same waits for the same seed, everywhere. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export interface Distribution {
  readonly name: string;
  /** One wait, in milliseconds. */
  readonly draw: (random: () => number) => number;
}

const S = 1_000;
const MIN = 60 * S;
const HOUR = 60 * MIN;
const DAY = 24 * HOUR;

/** What tasks wait for, in shapes that are as different as possible. */
export const DISTRIBUTIONS: readonly Distribution[] = [
  { name: "exponential, mean 5 s", draw: (random) => exponential(random, 5 * S) },
  { name: "exponential, mean 20 s", draw: (random) => exponential(random, 20 * S) },
  { name: "exponential, mean 5 min", draw: (random) => exponential(random, 5 * MIN) },
  { name: "heavy tail (Pareto 1.1 from 1 s)", draw: (random) => Math.min(DAY, S / (1 - random()) ** (1 / 1.1)) },
  { name: "bimodal: 90 % 2 s, 10 % 1 h", draw: (random) => (random() < 0.9 ? around(random, 2 * S) : around(random, HOUR)) },
  { name: "bimodal: half 12 s, half 10 min", draw: (random) => (random() < 0.5 ? around(random, 12 * S) : around(random, 10 * MIN)) },
  { name: "chat-like", draw: (random) => (random() < 0.75 ? logNormal(random, 14 * S, 0.8) : logNormal(random, 40 * MIN, 1.5)) },
  { name: "cron-like: 1 min", draw: (random) => MIN + random() * S },
  { name: "cron-like: 1 h", draw: (random) => HOUR + random() * S },
];

export interface Outcome {
  readonly costMs: number;
  /** Added to waits whose end is not known: the task goes on later by the wake. */
  readonly latencyMs: number;
  readonly sleeps: number;
}

/** What one wait costs when the run is put to sleep after `delayMs`. */
export function costOf(lengthMs: number, delayMs: number, prices: SleepPrices): number {
  return lengthMs <= delayMs ? lengthMs : delayMs + prices.unknownEndMs;
}

/** What a policy that sees the future pays. */
export function optimumOf(lengths: readonly number[], prices: SleepPrices): number {
  return lengths.reduce((sum, lengthMs) => sum + Math.min(lengthMs, prices.unknownEndMs), 0);
}

/** The fixed delay that would have been best for these very waits: no policy that knows their distribution alone does better. */
export function bestFixedDelay(lengths: readonly number[], prices: SleepPrices): { readonly delayMs: number; readonly costMs: number } {
  const sorted = lengths.toSorted((a, b) => a - b);
  let best = { delayMs: 0, costMs: sorted.length * prices.unknownEndMs };
  let endedMs = 0;
  for (const [index, lengthMs] of sorted.entries()) {
    endedMs += lengthMs;
    const costMs = endedMs + (sorted.length - index - 1) * (lengthMs + prices.unknownEndMs);
    if (costMs < best.costMs) best = { delayMs: lengthMs, costMs };
  }
  return best;
}

export function replayFixed(lengths: readonly number[], delayMs: number, prices: SleepPrices): Outcome {
  const sleeps = lengths.filter((lengthMs) => lengthMs > delayMs).length;
  return {
    costMs: lengths.reduce((sum, lengthMs) => sum + costOf(lengthMs, delayMs, prices), 0),
    latencyMs: (sleeps * prices.wakeP95Ms) / Math.max(1, lengths.length),
    sleeps,
  };
}

/** One task whose waits of one kind follow one another. */
export class Replay {
  readonly prices: SleepPrices;
  readonly #history = new WaitHistory();

  constructor(prices: SleepPrices = new NodeCosts().prices()) {
    this.prices = prices;
  }

  /** Decides about each wait in turn, and learns from it. Returns the delays. */
  run(lengths: readonly number[]): number[] {
    return lengths.map((lengthMs) => {
      const plan = planSleep({
        kind: "MANUAL",
        end: null,
        waitedMs: 0,
        past: this.#history.of("task", "MANUAL"),
        prices: this.prices,
        isShort: false,
        fixedDelayMs: null,
      });
      const delayMs = delayOf(plan);
      this.#history.learn("task", "MANUAL", { lengthMs, delayMs, breakEvenMs: plan.breakEvenMs });
      return delayMs;
    });
  }
}

/** The delay as it is carried out: nothing is frozen before the runner's answer has surely left. */
export function delayOf(plan: SleepPlan): number {
  if (plan.kind === "stay") return Number.POSITIVE_INFINITY;
  return Math.max(MIN_BEFORE_FREEZE_MS, plan.kind === "after" ? plan.delayMs : 0);
}

export function draws(distribution: Distribution, count: number, random: () => number): number[] {
  return Array.from({ length: count }, () => distribution.draw(random));
}

function exponential(random: () => number, meanMs: number): number {
  return -meanMs * Math.log(1 - random());
}

function around(random: () => number, middleMs: number): number {
  return middleMs * (0.9 + 0.2 * random());
}

function logNormal(random: () => number, medianMs: number, sigma: number): number {
  const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  return medianMs * Math.exp(sigma * normal);
}
