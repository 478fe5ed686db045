import type { TimelineLineView } from "@torpor/contracts";
import { describe, expect, it } from "vitest";
import { runnerOf, sleepsOf, startsOf, wakeMs } from "./figures.ts";

const engine = (name: string, atMs: number): TimelineLineView => ({ source: "engine", name, at: new Date(atMs) });
const frozen = (atMs: number, durationMs: number, sizeBytes: number): TimelineLineView => ({
  source: "node",
  name: "snapshot.frozen",
  at: new Date(atMs),
  durationMs,
  properties: { sizeBytes },
});

const launched = (name: string, runnerId: string): TimelineLineView => ({ source: "node", name, at: new Date(0), runnerId });

describe("figures of a run", () => {
  it("measure the wake from the time that it waited for, also when it is queued a moment ahead of that", () => {
    const waits = { ...engine("EXECUTING_WITH_WAITPOINTS", 0), reason: `Waits until ${new Date(10_000).toISOString()}` };
    const sleeps = sleepsOf([waits, engine("SUSPENDED", 500), engine("QUEUED", 9_850), engine("EXECUTING", 10_003)]);
    expect(wakeMs(sleeps, { wokeAtMs: 10_030 })).toBe(30);
  });

  it("say how each of its attempts started, and which runner has it after it woke", () => {
    const timeline = [
      launched("launch.created", "runner-a"),
      engine("QUEUED", 1),
      launched("launch.warm", "runner-b"),
      launched("launch.restored", "runner-c"),
    ];
    expect(startsOf(timeline)).toEqual(["cold", "warm"]);
    expect(runnerOf(timeline)).toBe("runner-c");
  });

  it("counts a sleep that a cancellation ends", () => {
    expect(
      sleepsOf([engine("EXECUTING_WITH_WAITPOINTS", 0), frozen(900, 130, 5), engine("SUSPENDED", 1_000), engine("FINISHED", 4_000)]),
    ).toEqual([{ asleepMs: 3_000, freezeMs: 130, sizeBytes: 5, waitEndedAtMs: 4_000 }]);
  });

  it("does not take a snapshot that was refused for a sleep", () => {
    expect(
      sleepsOf([engine("EXECUTING_WITH_WAITPOINTS", 0), frozen(900, 130, 5), engine("EXECUTING", 1_000), engine("FINISHED", 2_000)]),
    ).toEqual([]);
  });

  it("measures the wake from the end of the last wait to the line that the task noted", () => {
    const sleeps = sleepsOf([
      engine("SUSPENDED", 0),
      engine("QUEUED", 500),
      engine("EXECUTING", 700),
      engine("SUSPENDED", 900),
      engine("QUEUED", 2_000),
    ]);
    expect(sleeps).toHaveLength(2);
    expect(sleeps[1]?.waitEndedAtMs).toBe(2_000);
    expect(wakeMs(sleeps, { wokeAtMs: 2_250 })).toBe(250);
    expect(wakeMs(sleeps, "no object")).toBeUndefined();
  });
});
