import { sleep, systemClock } from "@torpor/kernel";
import type { HeldRun } from "./worker.ts";

const AT_ONCE = 10;

/** Runs the race for each run, a few at once. */
export async function race(runs: readonly HeldRun[], oneRun: (held: HeldRun, round: number) => Promise<void>): Promise<void> {
  for (let from = 0; from < runs.length; from += AT_ONCE) {
    await Promise.all(runs.slice(from, from + AT_ONCE).map((held, index) => oneRun(held, from + index)));
  }
}

/** Both at once, the one or the other a little later: `b` by up to 2 ms, `a` by up to `slowMs`. */
export async function both<A, B>(round: number, a: () => Promise<A>, b: () => Promise<B>, slowMs = 2): Promise<[A, B]> {
  const place = (round % 10) - 4;
  const shiftMs = place <= 0 ? -place * 0.5 : (-place / 5) * slowMs;
  const later = async <T>(delayMs: number, call: () => Promise<T>): Promise<T> => {
    if (delayMs >= 1) await sleep(systemClock, delayMs);
    else if (delayMs > 0) await new Promise<void>((resolve) => setImmediate(resolve));
    return call();
  };
  return Promise.all([later(-shiftMs, a), later(shiftMs, b)]);
}
