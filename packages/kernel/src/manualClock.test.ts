import { describe, expect, it } from "vitest";
import { sleep } from "./clock.ts";
import { ManualClock } from "./manualClock.ts";

describe("manual clock", () => {
  it("fires timers in due order, also those that a timer sets on the way", async () => {
    const clock = new ManualClock();
    const fired: string[] = [];
    clock.after(300, () => fired.push("late"));
    clock.after(100, () => {
      fired.push("early");
      clock.after(50, () => fired.push("nested"));
    });
    await clock.advance(200);
    expect(fired).toEqual(["early", "nested"]);
    await clock.advance(100);
    expect(fired).toEqual(["early", "nested", "late"]);
  });

  it("wakes a sleeper by abort before its time", async () => {
    const clock = new ManualClock();
    const abort = new AbortController();
    const sleeping = sleep(clock, 10_000, abort.signal);
    abort.abort();
    expect(await sleeping).toBe("aborted");
    expect(clock.pendingCount).toBe(0);
  });

  it("moves the wall clock without moving deadlines", async () => {
    const clock = new ManualClock(1_000);
    let fired = false;
    clock.after(500, () => (fired = true));
    clock.jumpWall(3_600_000);
    await clock.advance(499);
    expect([fired, clock.nowMs()]).toEqual([false, 3_601_499]);
  });
});
