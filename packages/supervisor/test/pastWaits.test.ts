import { describe, expect, it } from "vitest";
import { NodeCosts } from "../src/sleep/nodeCosts.ts";
import { PastWaits } from "../src/sleep/pastWaits.ts";
import { WaitHistory } from "../src/sleep/waitHistory.ts";
import { bestFixedDelay, costOf, DISTRIBUTIONS, draws, optimumOf, Replay, seeded } from "./sleepReplay.ts";

const breakEvenMs = 18_000;

function learnt(lengths: readonly number[], delayMs = breakEvenMs): PastWaits {
  const past = new PastWaits();
  for (const lengthMs of lengths) past.learn({ lengthMs, delayMs, breakEvenMs });
  return past;
}

describe("what past waits say", () => {
  it("is nothing before there were ten", () => {
    expect(learnt(Array<number>(9).fill(3_600_000)).bestDelayMs(breakEvenMs)).toBeNull();
    expect(learnt(Array<number>(10).fill(3_600_000)).bestDelayMs(breakEvenMs)).toBe(0);
  });

  it("is a delay just beyond the short ones, when the others are long", () => {
    const lengths = Array.from({ length: 200 }, (_, index) => (index % 10 === 0 ? 3_600_000 : 2_000));
    const delayMs = learnt(lengths).bestDelayMs(breakEvenMs) ?? 0;
    expect(delayMs).toBeGreaterThanOrEqual(2_000);
    expect(delayMs).toBeLessThan(3_000);
  });

  it("is never to hold a run longer than twice the break-even", () => {
    expect(learnt(Array<number>(100).fill(17_000)).bestDelayMs(breakEvenMs)).toBeLessThanOrEqual(2 * breakEvenMs);
    expect(learnt(Array<number>(100).fill(30_000)).bestDelayMs(breakEvenMs)).toBeLessThanOrEqual(2 * breakEvenMs);
  });

  it("is soon what the newer ones say", () => {
    const past = learnt(Array<number>(10_000).fill(3_600_000));
    for (let wait = 0; wait < 400; wait++) past.learn({ lengthMs: 1_000, delayMs: breakEvenMs, breakEvenMs });
    expect(past.bestDelayMs(breakEvenMs)).toBeGreaterThanOrEqual(1_000);
  });

  it("is not believed any more when trusting it has cost as much as it may", () => {
    const past = learnt(Array<number>(50).fill(3_600_000), 0);
    let trusted = 0;
    for (let delayMs = past.bestDelayMs(breakEvenMs); delayMs !== null; delayMs = past.bestDelayMs(breakEvenMs)) {
      past.learn({ lengthMs: delayMs + 1, delayMs, breakEvenMs }); // each ends just after the run was put to sleep
      trusted++;
    }
    expect(trusted).toBeGreaterThan(4);
    expect(trusted).toBeLessThan(40);
  });

  it("includes how much longer a wait lasts that has lasted a while", () => {
    const past = learnt(Array.from({ length: 100 }, (_, index) => (index % 2 === 0 ? 2_000 : 600_000)));
    expect(past.expectedRestMs(0)).toBeGreaterThan(250_000);
    expect(past.expectedRestMs(30_000)).toBeGreaterThan(550_000);
    expect(past.expectedRestMs(5_000_000)).toBeNull();
  });

  it("takes up a fixed room, however many waits of however many tasks there were", () => {
    const history = new WaitHistory();
    for (let task = 0; task < 5_000; task++) history.learn(`task-${task}`, "MANUAL", { lengthMs: task, delayMs: 0, breakEvenMs });
    expect(history.size).toBe(2_000);
    expect(history.of("task-0", "MANUAL")).toBeNull();
    expect(history.of("task-4999", "MANUAL")?.count).toBe(1);
  });
});

describe("the cost of all waits of a task", () => {
  const COUNT = 3_000;

  it.each(DISTRIBUTIONS)(
    "$name: after 1 000 waits within 1.1 × the best policy that knows it, and below 2 × the optimum",
    (distribution) => {
      const replay = new Replay();
      const lengths = draws(distribution, COUNT, seeded(7));
      expect(...shares(replay, lengths)).toMatchObject({ isNearBest: true, isBelowTwice: true });
    },
  );

  it.each(DISTRIBUTIONS)("after waits of every other kind, $name: the same again", (distribution) => {
    for (const before of DISTRIBUTIONS) {
      const random = seeded(11);
      const replay = new Replay();
      replay.run(draws(before, 1_000, random));
      expect(...shares(replay, draws(distribution, COUNT, random))).toMatchObject({ isNearBest: true, isBelowTwice: true });
    }
  });

  it("stays below twice the optimum and four sleeps at every moment, even when each wait ends just after the run was put to sleep", () => {
    for (const overMs of [1, 5_000, 100_000]) {
      const replay = new Replay();
      let paidMs = 0;
      let optimumMs = 0;
      let delayMs = replay.prices.unknownEndMs;
      const random = seeded(3);
      for (let wait = 0; wait < 3_000; wait++) {
        const lengthMs = random() < 0.5 ? delayMs + overMs : random() * delayMs;
        [delayMs = 0] = replay.run([lengthMs]);
        paidMs += costOf(lengthMs, delayMs, replay.prices);
        optimumMs += Math.min(lengthMs, replay.prices.unknownEndMs);
        expect(paidMs).toBeLessThan(2 * optimumMs + 4.5 * replay.prices.unknownEndMs);
      }
    }
  });

  function shares(replay: Replay, lengths: readonly number[]) {
    const delays = replay.run(lengths);
    const costs = lengths.map((lengthMs, index) => costOf(lengthMs, delays[index] ?? 0, replay.prices));
    const toBest = total(costs.slice(1_000)) / bestFixedDelay(lengths.slice(1_000), replay.prices).costMs;
    const toOptimum = total(costs) / optimumOf(lengths, replay.prices);
    return [
      { isNearBest: toBest <= 1.1, isBelowTwice: toOptimum <= 2 },
      `${toBest.toFixed(3)} × best, ${toOptimum.toFixed(3)} × optimum`,
    ] as const;
  }
});

describe("the price of a sleep", () => {
  it("is a guess at first, and what was measured soon after", () => {
    const costs = new NodeCosts();
    const before = costs.prices();
    for (let time = 0; time < 8; time++) {
      costs.froze(1_000);
      costs.woke(2_000);
    }
    expect(costs.prices()).toMatchObject({ freezeMs: 1_000, wakeP95Ms: 2_000 });
    expect(costs.prices().knownEndMs).toBeGreaterThan(before.knownEndMs);
  });

  it("hardly depends on the size of the machine, and rises when sandboxes are small", () => {
    const [small, large, light] = [new NodeCosts(), new NodeCosts(), new NodeCosts()];
    small.resize({ cpuTotal: 2, memoryTotalBytes: 8 * 1024 ** 3 });
    large.resize({ cpuTotal: 32, memoryTotalBytes: 128 * 1024 ** 3 });
    for (let time = 0; time < 8; time++) light.held(50e6);
    expect(large.prices().knownEndMs).toBeCloseTo(small.prices().knownEndMs, -3);
    expect(light.prices().knownEndMs).toBeGreaterThan(2 * small.prices().knownEndMs);
  });

  it("stays between one second and one minute, whatever was measured", () => {
    const costs = new NodeCosts();
    for (let time = 0; time < 10; time++) costs.woke(1e7);
    expect(costs.prices().unknownEndMs).toBe(60_000);
    costs.resize({ cpuTotal: 1e6, memoryTotalBytes: 1 });
    for (let time = 0; time < 100; time++) costs.woke(0);
    expect(costs.prices().unknownEndMs).toBe(1_000);
  });

  it("includes being late only when the end of the wait is not known", () => {
    const { knownEndMs, unknownEndMs } = new NodeCosts().prices();
    expect(unknownEndMs).toBeGreaterThan(knownEndMs);
  });
});

function total(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}
