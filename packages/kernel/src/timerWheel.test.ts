import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { TimerWheel } from "./timerWheel.ts";

const OPTIONS = { tickMs: 100, slotCount: 8 };

describe("timer wheel", () => {
  it("is never early and at most one tick late, however far away the deadlines and however uneven the steps (W2)", () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 5_000 }), { maxLength: 40 }),
        fc.array(fc.integer({ min: 1, max: 900 }), { minLength: 1, maxLength: 80 }),
        (deadlines, steps) => {
          const wheel = new TimerWheel<number>(OPTIONS, 0);
          deadlines.forEach((dueMs, index) => wheel.schedule(`k${index}`, dueMs, dueMs));
          let nowMs = 0;
          let beforeMs = 0;
          for (const step of steps) {
            beforeMs = nowMs;
            nowMs += step;
            for (const dueMs of wheel.advance(nowMs)) {
              expect(dueMs).toBeLessThanOrEqual(nowMs);
              expect(dueMs + OPTIONS.tickMs).toBeGreaterThan(Math.floor(beforeMs / OPTIONS.tickMs) * OPTIONS.tickMs - OPTIONS.tickMs);
            }
          }
          const settledMs = Math.floor(nowMs / OPTIONS.tickMs) * OPTIONS.tickMs;
          for (const [, dueMs] of wheel.entries()) expect(dueMs).toBeGreaterThan(settledMs - OPTIONS.tickMs);
        },
      ),
    );
  });

  it("hands out nothing twice and loses nothing, against a plain map of deadlines", () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.constantFrom("a", "b", "c", "d"), fc.integer({ min: 1, max: 3_000 }), fc.boolean()), { maxLength: 60 }),
        (operations) => {
          const wheel = new TimerWheel<string>(OPTIONS, 0);
          const model = new Map<string, number>();
          for (const [key, dueMs, cancels] of operations) {
            if (cancels) expect(wheel.cancel(key)).toBe(model.delete(key) ? key : undefined);
            else {
              wheel.schedule(key, dueMs, key);
              model.set(key, dueMs);
            }
          }
          expect(wheel.advance(10_000).sort()).toEqual([...model.keys()].sort());
          expect(wheel.size).toBe(0);
        },
      ),
    );
  });

  it("visits each slot once after a leap of the clock, and ignores a step back (W3)", () => {
    const wheel = new TimerWheel<string>(OPTIONS, 1_000);
    wheel.schedule("far", 500_000, "far");
    expect(wheel.advance(400_000)).toEqual([]);
    expect(wheel.advance(1_000)).toEqual([]);
    expect(wheel.advance(500_000)).toEqual(["far"]);
  });

  it("keeps one entry per key: the newer replaces the older and says so (W1)", () => {
    const wheel = new TimerWheel<string>(OPTIONS, 0);
    wheel.schedule("run", 300, "first");
    expect(wheel.schedule("run", 900, "second")).toBe("first");
    expect(wheel.advance(500)).toEqual([]);
    expect(wheel.advance(900)).toEqual(["second"]);
  });

  it("takes an entry out only for its owner", () => {
    const wheel = new TimerWheel<{ runner: string }>(OPTIONS, 0);
    wheel.schedule("run", 300, { runner: "new" });
    expect(wheel.cancelIf("run", ({ runner }) => runner === "old")).toBeUndefined();
    expect(wheel.peek("run")).toEqual({ runner: "new" });
    expect(wheel.cancelIf("run", ({ runner }) => runner === "new")).toEqual({ runner: "new" });
  });
});
