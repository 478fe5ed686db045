// What the waits of one task and kind lasted so far, and the delay that would have been best for them.
//
// H1  Bounded: a fixed number of buckets, each a quarter of an octave wide, from a quarter of a second to a day.
// H2  It forgets: a wait counts half as much after `HALF_LIFE` further ones, so that a task that changes its ways is believed soon.
// H3  It is trusted on credit only. The break-even delay never costs more than twice what a policy that sees the future pays;
//     every other delay may, on a wait that is other than those before. What such a delay can lose at worst must be covered by
//     what was saved before. So the sum stays below twice the optimum plus `ALLOWANCE` sleeps, whatever waits come.

const FIRST_EDGE_MS = 250;
const BUCKETS_PER_OCTAVE = 4;
/** The last begins beyond a day. */
const BUCKET_COUNT = 76;
const HALF_LIFE = 200;
const GROWTH = 2 ** (1 / HALF_LIFE);
/** Weights grow instead of old ones shrinking; beyond this all are scaled down. */
const RESCALE_AT = 1e9;
/** Fewer waits than this say nothing. */
const MIN_COUNT = 10;
/** In units of one sleep's cost: what may be lost on trust before anything was saved, and the most that is remembered as saved. */
const ALLOWANCE = 4;
const MAX_CREDIT = 16;

/** One wait that is over. */
export interface PastWait {
  readonly lengthMs: number;
  /** What was decided when it began; null: to stay awake. */
  readonly delayMs: number | null;
  /** The break-even delay when it was decided. */
  readonly breakEvenMs: number;
}

/** The waits of one task and kind. */
export class PastWaits {
  readonly #weights = new Float64Array(BUCKET_COUNT);
  readonly #sumsMs = new Float64Array(BUCKET_COUNT);
  #unit = 1;
  #count = 0;
  #credit = ALLOWANCE;

  /** How many waits were learnt. */
  get count(): number {
    return this.#count;
  }

  /** Takes in a wait that is over. */
  learn(wait: PastWait): void {
    const { lengthMs, delayMs, breakEvenMs } = wait;
    const bucket = bucketOf(lengthMs);
    this.#unit *= GROWTH;
    this.#weights[bucket] = (this.#weights[bucket] ?? 0) + this.#unit;
    this.#sumsMs[bucket] = (this.#sumsMs[bucket] ?? 0) + this.#unit * lengthMs;
    this.#count++;
    if (this.#unit > RESCALE_AT) this.#rescale();
    const paidMs = delayMs === null || lengthMs <= delayMs ? lengthMs : delayMs + breakEvenMs;
    const savedMs = 2 * Math.min(lengthMs, breakEvenMs) - paidMs;
    this.#credit = Math.min(MAX_CREDIT, this.#credit + savedMs / breakEvenMs);
  }

  /**
   * The delay that would have cost least, from 0 to twice the break-even; null when too little is known, or when nothing is
   * left to lose on trust (H3). Longer delays than that would have saved next to nothing, and hold memory.
   */
  bestDelayMs(breakEvenMs: number): number | null {
    if (this.#count < MIN_COUNT) return null;
    const longestMs = 2 * breakEvenMs;
    let waiting = this.#total();
    let endedMs = 0;
    let best = { delayMs: 0, costMs: waiting * breakEvenMs };
    for (let bucket = 0; bucket < BUCKET_COUNT; bucket++) {
      const delayMs = Math.min(upperEdgeMs(bucket), longestMs);
      waiting -= this.#weights[bucket] ?? 0;
      endedMs += this.#sumsMs[bucket] ?? 0;
      const costMs = endedMs + waiting * (delayMs + breakEvenMs);
      if (costMs < best.costMs) best = { delayMs, costMs };
      if (delayMs === longestMs) break;
    }
    const atRisk = Math.abs(best.delayMs - breakEvenMs) / breakEvenMs;
    return atRisk <= this.#credit ? best.delayMs : null;
  }

  /** How much longer a wait lasts on average that has lasted `waitedMs`; null when no wait was that long. */
  expectedRestMs(waitedMs: number): number | null {
    if (this.#count < MIN_COUNT) return null;
    let weight = 0;
    let sumMs = 0;
    for (let bucket = bucketOf(waitedMs); bucket < BUCKET_COUNT; bucket++) {
      weight += this.#weights[bucket] ?? 0;
      sumMs += this.#sumsMs[bucket] ?? 0;
    }
    return weight === 0 ? null : Math.max(0, sumMs / weight - waitedMs);
  }

  #total(): number {
    return this.#weights.reduce((sum, weight) => sum + weight, 0);
  }

  #rescale(): void {
    for (let bucket = 0; bucket < BUCKET_COUNT; bucket++) {
      this.#weights[bucket] = (this.#weights[bucket] ?? 0) / this.#unit;
      this.#sumsMs[bucket] = (this.#sumsMs[bucket] ?? 0) / this.#unit;
    }
    this.#unit = 1;
  }
}

function upperEdgeMs(bucket: number): number {
  return FIRST_EDGE_MS * 2 ** (bucket / BUCKETS_PER_OCTAVE);
}

function bucketOf(lengthMs: number): number {
  if (lengthMs <= FIRST_EDGE_MS) return 0;
  return Math.min(BUCKET_COUNT - 1, Math.ceil(BUCKETS_PER_OCTAVE * Math.log2(lengthMs / FIRST_EDGE_MS)));
}
