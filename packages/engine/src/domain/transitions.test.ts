import { ExecutionStatus } from "@torpor/contracts";
import { array, assert, constantFrom, property } from "fast-check";
import { describe, expect, it } from "vitest";
import { consequences } from "./consequences.ts";
import { stallAfterMs } from "./stalls.ts";
import { nextStep, printTransitions, transition, TRANSITIONS, type RunEvent } from "./transitions.ts";
import { DEFAULT_SETTINGS } from "./settings.ts";

const STATUSES = ExecutionStatus.options;
const EVENTS = [...new Set(Object.values(TRANSITIONS).flatMap((row) => Object.keys(row)))] as RunEvent[];

describe("the life cycle of a run", () => {
  it("refuses every event once a run is finished", () => {
    expect(EVENTS.map((event) => nextStep("FINISHED", event))).toEqual(EVENTS.map(() => undefined));
  });

  it("throws for a step that the table does not have, and names both sides of it", () => {
    expect(() => transition("SUSPENDED", "start")).toThrow("Cannot start a run: its execution status is SUSPENDED");
  });

  it("can be cancelled and finished from every status but the last one", () => {
    const stuck = STATUSES.filter((status) => status !== "FINISHED" && nextStep(status, "finish") === undefined);
    expect(stuck).toEqual([]);
    const uncancellable = STATUSES.filter(
      (status) => !["FINISHED", "PENDING_CANCEL"].includes(status) && nextStep(status, "cancel") === undefined,
    );
    expect(uncancellable).toEqual([]);
  });

  it("tells the runner of blocks, resumes while alive, continues, cancels and immediate retries, and of nothing else", () => {
    const told = STATUSES.flatMap((from) =>
      EVENTS.filter((event) => nextStep(from, event)?.notify === true && from !== "QUEUED_EXECUTING").map((event) => `${from} ${event}`),
    );
    expect(told.sort()).toEqual(
      [
        "EXECUTING block",
        "EXECUTING cancel",
        "EXECUTING retryNow",
        "EXECUTING_WITH_WAITPOINTS cancel",
        "EXECUTING_WITH_WAITPOINTS resume",
        "EXECUTING_WITH_WAITPOINTS retryNow",
        "PENDING_EXECUTING cancel",
        "PENDING_EXECUTING continue",
      ].sort(),
    );
  });

  it("never makes the status QUEUED_EXECUTING, which only old rows have", () => {
    expect(STATUSES.flatMap((from) => EVENTS.map((event) => nextStep(from, event)?.to))).not.toContain("QUEUED_EXECUTING");
  });

  it("waits without limit only where something durable will wake it", () => {
    const limitless = STATUSES.filter((status) => stallAfterMs(status, DEFAULT_SETTINGS.stalls) === undefined);
    expect(limitless).toEqual(["RUN_CREATED", "DELAYED", "QUEUED", "FINISHED"]);
  });

  it("prints itself as a diagram with every step of the table", () => {
    const diagram = printTransitions();
    expect(diagram).toContain("SUSPENDED --> QUEUED: resume");
    expect(diagram).toContain("PENDING_EXECUTING --> QUEUED: giveBack, startOver");
    const steps = Object.values(TRANSITIONS).flatMap((row) => Object.keys(row)).length;
    const printed = diagram
      .split("\n")
      .filter((line) => line.includes("-->") && !line.includes("[*]"))
      .flatMap((line) => (line.split(": ")[1] ?? "").split(", ")).length;
    expect(printed).toBe(steps);
  });
});

describe("what follows from a change of status", () => {
  it("frees concurrency exactly as often as it takes it, along every path that the table allows", () => {
    assert(
      property(array(constantFrom(...EVENTS), { maxLength: 60 }), (events) => {
        let status: ExecutionStatus = "QUEUED";
        let [slots, ready] = [0, 1];
        for (const event of events) {
          const step = nextStep(status, event);
          if (step === undefined) continue;
          const effects = consequences(status, step.to);
          slots += effects.slot === "take" ? 1 : effects.slot === "free" ? -1 : 0;
          ready += effects.ready === "enter" ? 1 : effects.ready === "leave" ? -1 : 0;
          status = step.to;
          expect([slots, ready].every((count) => count === 0 || count === 1)).toBe(true);
          expect(ready === 1).toBe(status === "QUEUED");
        }
      }),
    );
  });

  it("releases concurrency at a suspension, a cancellation and a return to the queue", () => {
    expect(consequences("EXECUTING_WITH_WAITPOINTS", "SUSPENDED").slot).toBe("free");
    expect(consequences("EXECUTING", "PENDING_CANCEL").slot).toBe("free");
    expect(consequences("PENDING_EXECUTING", "QUEUED").slot).toBe("free");
  });

  it("keeps the waits of a run that falls asleep and ends those of a run that is retried", () => {
    expect(consequences("EXECUTING_WITH_WAITPOINTS", "SUSPENDED").endsWaits).toBe(false);
    expect(consequences("EXECUTING_WITH_WAITPOINTS", "QUEUED").endsWaits).toBe(true);
  });
});
