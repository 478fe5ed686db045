import { describe, expect, it } from "vitest";
import { isTimeToAct } from "./watch.ts";

describe("what comes from outside to a run of the demo", () => {
  it("comes some time after it is seen asleep, however long it took to fall asleep", () => {
    const one = { startedMs: 0, asleepSinceMs: 90_000 };
    expect(isTimeToAct(one, 4_000, { nowMs: 93_999, patienceMs: 120_000 })).toBe(false);
    expect(isTimeToAct(one, 4_000, { nowMs: 94_000, patienceMs: 120_000 })).toBe(true);
  });

  it("comes to a run that does not fall asleep when it has been waited for long enough, and to none that has not started", () => {
    expect(isTimeToAct({ startedMs: 0, asleepSinceMs: undefined }, 4_000, { nowMs: 60_000, patienceMs: 120_000 })).toBe(false);
    expect(isTimeToAct({ startedMs: 0, asleepSinceMs: undefined }, 4_000, { nowMs: 124_000, patienceMs: 120_000 })).toBe(true);
    expect(isTimeToAct({ startedMs: undefined, asleepSinceMs: undefined }, 4_000, { nowMs: 1e9, patienceMs: 15_000 })).toBe(false);
  });
});
