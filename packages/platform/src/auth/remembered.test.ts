import { ManualClock } from "@torpor/kernel";
import { describe, expect, it } from "vitest";
import { Remembered } from "./remembered.ts";

function scene(maxEntries = 2) {
  const clock = new ManualClock();
  let asked = 0;
  const remembered = new Remembered<string>({ clock, keepMs: 1000, maxEntries });
  const get = (key: string, answer: string | null = key) => remembered.get(key, async () => (asked++, answer));
  return { clock, get, asked: () => asked };
}

describe("answers that are remembered for a while", () => {
  it("asks again when the time is over, and not before", async () => {
    const { clock, get, asked } = scene();
    await get("a");
    await clock.advance(999);
    await get("a");
    expect(asked()).toBe(1);
    await clock.advance(1);
    await get("a");
    expect(asked()).toBe(2);
  });

  it("does not remember that something is not there: it may be made in the next moment", async () => {
    const { get } = scene();
    expect(await get("a", null)).toBeNull();
    expect(await get("a", "made")).toBe("made");
  });

  it("forgets the oldest answer rather than grow", async () => {
    const { get, asked } = scene(2);
    for (const key of ["a", "b", "c", "c", "b"]) await get(key);
    expect(asked()).toBe(3);
    await get("a");
    expect(asked()).toBe(4);
  });
});
