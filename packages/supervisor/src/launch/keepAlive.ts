// How long a runner is kept that waits for another run. It holds its memory all that time, so it is kept as long as the next run
// of its kind usually takes to come, and not longer.

/** Upper ends of the classes by which gaps between arrivals are counted, in milliseconds; longer ones go into a last class. */
export const GAP_BOUNDS_MS = [500, 1_000, 2_000, 5_000, 10_000, 20_000, 30_000, 60_000, 120_000, 300_000, 600_000, 1_800_000] as const;

/** Below this many gaps nothing is known. */
const KNOWN_FROM = 8;
/** The share of gaps that a kept runner should bridge. The rest is a tail that would cost more memory than it saves time. */
const WANTED_SHARE = 0.9;
/** What is worth keeping is kept at least so long: a machine that is busy for a moment lets runs come late. */
const SHORTEST_MS = 5_000;
/** When fewer gaps than this can be bridged at all, keeping is not worth it. */
const WORTHWHILE_SHARE = 0.1;

export interface KeepAliveFacts {
  /** How many gaps fell into each class of `GAP_BOUNDS_MS`, and into the last one behind them. */
  readonly gaps: readonly number[];
  /** Others that wait for the same kind of run: the n-th is only needed when n runs come at once. */
  readonly idleAlike: number;
  /** The node is short of memory. */
  readonly memoryIsTight: boolean;
  /** Kept for this long while nothing is known; 0: never kept. */
  readonly usualMs: number;
  /** Never kept longer. */
  readonly maxMs: number;
}

/** How long to keep a runner that has just become idle, in milliseconds. 0: not at all. */
export function planKeepAlive({ gaps, idleAlike, memoryIsTight, usualMs, maxMs }: KeepAliveFacts): number {
  if (usualMs === 0 || memoryIsTight) return 0;
  return Math.round(Math.min(maxMs, bridgedMs(gaps, { usualMs, maxMs })) / (1 + idleAlike));
}

function bridgedMs(gaps: readonly number[], { usualMs, maxMs }: { readonly usualMs: number; readonly maxMs: number }): number {
  const total = gaps.reduce((sum, count) => sum + count, 0);
  if (total < KNOWN_FROM) return usualMs;
  let seen = 0;
  let bestMs = 0;
  for (const [index, boundMs] of GAP_BOUNDS_MS.entries()) {
    if (boundMs > maxMs) break;
    const count = gaps[index] ?? 0;
    seen += count;
    if (count > 0) bestMs = boundMs;
    if (seen / total >= WANTED_SHARE) break;
  }
  // A run more or less regular is late by a little now and then.
  return seen / total < WORTHWHILE_SHARE ? 0 : Math.max(SHORTEST_MS, bestMs * 1.25);
}

/** Kinds of runs that are remembered; beyond this the one that has not come for longest is forgotten. */
const MAX_KINDS = 1_000;
/** Then all counts are halved, so that what was long ago weighs less and less. */
const MAX_COUNTED = 256;

/** When runs of each kind came. */
export class Arrivals {
  readonly #kinds = new Map<string, { lastMs: number; gaps: number[] }>();

  /** A run of this kind has come. */
  note(kind: string, nowMs: number): void {
    const known = this.#kinds.get(kind);
    this.#kinds.delete(kind);
    const gaps = known?.gaps ?? Array.from({ length: GAP_BOUNDS_MS.length + 1 }, () => 0);
    if (known !== undefined) count(gaps, nowMs - known.lastMs);
    this.#kinds.set(kind, { lastMs: nowMs, gaps });
    if (this.#kinds.size > MAX_KINDS) this.#kinds.delete(this.#kinds.keys().next().value ?? "");
  }

  gapsOf(kind: string): readonly number[] {
    return this.#kinds.get(kind)?.gaps ?? [];
  }
}

function count(gaps: number[], gapMs: number): void {
  const found = GAP_BOUNDS_MS.findIndex((boundMs) => gapMs <= boundMs);
  const index = found === -1 ? GAP_BOUNDS_MS.length : found;
  gaps[index] = (gaps[index] ?? 0) + 1;
  if (gaps.reduce((sum, one) => sum + one, 0) <= MAX_COUNTED) return;
  for (const [at, value] of gaps.entries()) gaps[at] = Math.floor(value / 2);
}
