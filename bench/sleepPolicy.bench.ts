// What the decision when to sleep costs: lengths of waits, replayed through the real function, beside fixed delays, the best policy that
// knows the distribution, and one that sees the future. One task, ends not known; nothing is slept through, so it takes seconds.
import {
  bestFixedDelay,
  costOf,
  DISTRIBUTIONS,
  draws,
  optimumOf,
  Replay,
  replayFixed,
  seeded,
} from "../packages/supervisor/test/sleepReplay.ts";
import { machineLine } from "./lib/machine.ts";

const cycles = Number(process.argv[process.argv.indexOf("--cycles") + 1]) || 100_000;
const LEARNING = 1_000;
const FIXED_MS = [5_000, 30_000, 60_000];
const { prices } = new Replay();
const random = seeded(20_260);

const steady = DISTRIBUTIONS.map((distribution) => measure(distribution.name, new Replay(prices), draws(distribution, cycles, random)));
const changed = DISTRIBUTIONS.flatMap((before) =>
  DISTRIBUTIONS.filter((after) => after !== before).map((after) => {
    const replay = new Replay(prices);
    replay.run(draws(before, 5_000, random));
    return measure(`${before.name} → ${after.name}`, replay, draws(after, 20_000, random));
  }),
);

if (process.argv.includes("--json")) console.log(JSON.stringify({ machine: machineLine(), cycles, prices, steady, changed }, null, 2));
else print();

type Row = ReturnType<typeof measure>;

function measure(name: string, replay: Replay, lengths: readonly number[]) {
  const delays = replay.run(lengths);
  const costs = lengths.map((lengthMs, index) => costOf(lengthMs, delays[index] ?? 0, prices));
  const later = lengths.slice(LEARNING);
  const laterMs = sum(costs.slice(LEARNING));
  const best = bestFixedDelay(later, prices);
  const optimumMs = optimumOf(lengths, prices);
  const sleeps = lengths.filter((lengthMs, index) => lengthMs > (delays[index] ?? 0)).length;
  return {
    name,
    meanMs: sum(costs) / lengths.length,
    latencyMs: (sleeps * prices.wakeP95Ms) / lengths.length,
    sleepsShare: sleeps / lengths.length,
    fixed: FIXED_MS.map((delayMs) => ({ delayMs, ...perWait(replayFixed(lengths, delayMs, prices), lengths.length) })),
    best: { delayMs: best.delayMs, meanMs: best.costMs / later.length },
    optimumMeanMs: optimumMs / lengths.length,
    /** After the first 1 000 waits. */
    toBest: laterMs / best.costMs,
    /** From the first wait on. */
    toOptimum: sum(costs) / optimumMs,
    worstToOptimum: worstPrefix(lengths, costs),
  };
}

function perWait(outcome: { readonly costMs: number; readonly latencyMs: number }, count: number) {
  return { meanMs: outcome.costMs / count, latencyMs: outcome.latencyMs };
}

/** The worst share at any moment after the first 1 000 waits. */
function worstPrefix(lengths: readonly number[], costs: readonly number[]): number {
  let paidMs = 0;
  let optimumMs = 0;
  let worst = 0;
  for (const [index, lengthMs] of lengths.entries()) {
    paidMs += costs[index] ?? 0;
    optimumMs += Math.min(lengthMs, prices.unknownEndMs);
    if (index >= LEARNING) worst = Math.max(worst, paidMs / optimumMs);
  }
  return worst;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

function print(): void {
  console.log(`${machineLine()}; ${cycles} waits of each kind`);
  console.log(
    `A sleep costs as much as holding a sandbox for ${seconds(prices.unknownEndMs)} s (${seconds(prices.knownEndMs)} s when the end is known).`,
  );
  console.log("Cost per wait in seconds of holding; in brackets the lateness in ms that it adds.\n");
  const header = ["waits", "torpor", ...FIXED_MS.map((ms) => `fixed ${ms / 1000} s`), "best known", "optimum", "× best", "× optimum"];
  console.log(columns([header, ...steady.map(cells)]));
  const worst = (of: (row: Row) => number): Row => changed.reduce((most, row) => (of(row) > of(most) ? row : most));
  const [toBest, toOptimum] = [worst((row) => row.toBest), worst((row) => row.worstToOptimum)];
  console.log(`\nAfter a change of the distribution (${changed.length} pairs), at worst:`);
  console.log(`  ${toBest.toBest.toFixed(3)} × best known   ${toBest.name}`);
  console.log(`  ${toOptimum.worstToOptimum.toFixed(3)} × optimum      ${toOptimum.name}`);
}

function cells(row: Row): string[] {
  return [
    row.name,
    `${seconds(row.meanMs)} (${row.latencyMs.toFixed(0)})`,
    ...row.fixed.map(({ meanMs, latencyMs }) => `${seconds(meanMs)} (${latencyMs.toFixed(0)})`),
    `${seconds(row.best.meanMs)} at ${seconds(row.best.delayMs)}`,
    seconds(row.optimumMeanMs),
    row.toBest.toFixed(3),
    row.worstToOptimum.toFixed(3),
  ];
}

function seconds(ms: number): string {
  return (ms / 1000).toFixed(1);
}

function columns(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => (row[column] ?? "").length)));
  return rows
    .map((row) => row.map((cell, column) => (column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0))).join("  "))
    .join("\n");
}
