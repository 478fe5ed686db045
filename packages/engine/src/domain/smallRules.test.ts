import { Secret, systemRandom } from "@torpor/kernel";
import { assert, integer, property } from "fast-check";
import { describe, expect, it } from "vitest";
import { annotationsOf } from "./annotations.ts";
import { decideHandOut, type HandOutFacts } from "./handOut.ts";
import { keyStillCounts, storedKey } from "./idempotency.ts";
import { bodyOf, seqOf, snapshotIdBody } from "./ids.ts";
import { chooseMachine } from "./machine.ts";
import { decideGiveBack, scoreAt, taskQueueName } from "./queueing.ts";
import { encryptionKeyBytes, seal, unseal } from "./sealing.ts";
import { completeSettings, DEFAULT_SETTINGS } from "./settings.ts";
import { recheckDelayMs } from "./stalls.ts";
import { dayOf, nextVersion } from "./versions.ts";

describe("ids", () => {
  it("of a run's snapshots sort as strings in the order of their numbers, whatever the clocks say", () => {
    assert(
      property(integer({ min: 0, max: 2 ** 31 - 2 }), integer({ min: 0, max: 2 ** 31 - 2 }), (a, b) => {
        const [first, second] = [snapshotIdBody(a, systemRandom), snapshotIdBody(b, systemRandom)];
        if (a !== b) expect(first < second).toBe(a < b);
        expect(seqOf(first)).toBe(a);
      }),
    );
  });

  it("are taken with their prefix or bare, and of no other kind", () => {
    expect(bodyOf("run", "run_abc")).toBe("abc");
    expect(bodyOf("run", "abc")).toBe("abc");
    for (const bad of ["snapshot_abc", "run_", "run_a_b", "run_a b", "", "run_" + "a".repeat(65), "run_a';--"])
      expect(bodyOf("run", bad)).toBeUndefined();
  });

  it("that no snapshot can have name no number", () => {
    for (const bad of ["", "000001", "!!!!!!abc", "zzzzzzabc"]) expect(seqOf(bad)).toBeUndefined();
  });
});

describe("places in a queue", () => {
  it("are put forward by a priority and back by a negative one", () => {
    const at = new Date(10_000);
    expect([2, 0, -3].map((priority) => scoreAt(at, priority).getTime())).toEqual([8_000, 10_000, 13_000]);
  });

  it("are given back at once the first time, ever later after that, and not at all when the budget is spent", () => {
    const settings = { budget: 5, baseMs: 1000, factor: 2, maxMs: 3000 };
    expect([1, 2, 3, 4, 5].map((times) => decideGiveBack(times, settings))).toEqual([
      { kind: "requeue", delayMs: 0 },
      { kind: "requeue", delayMs: 1000 },
      { kind: "requeue", delayMs: 2000 },
      { kind: "requeue", delayMs: 3000 },
      { kind: "giveUp" },
    ]);
  });

  it("are named after the task, without what stands in no name", () => {
    expect(taskQueueName("send email!")).toBe("task/sendemail");
  });
});

describe("the hand-out of a queued run", () => {
  const facts: HandOutFacts = {
    deployment: { id: "d", version: "1.1" },
    hasTask: true,
    hasQueue: true,
    runMachine: null,
    taskMachine: null,
    runMaxAttempts: null,
    runMaxDurationSeconds: null,
    taskMaxDurationSeconds: null,
    taskRetry: null,
  };

  it("waits for a version while there is none, or none that knows the task or the queue", () => {
    for (const missing of [{ deployment: null }, { hasTask: false }, { hasQueue: false }])
      expect(decideHandOut({ ...facts, ...missing }).kind).toBe("park");
  });

  it("takes what the run asked for before what its task declares", () => {
    const task = { taskMachine: "micro", taskRetry: { maxAttempts: 3 }, taskMaxDurationSeconds: 60 };
    expect(decideHandOut({ ...facts, ...task })).toMatchObject({ machine: "micro", maxAttempts: 3, maxDurationSeconds: 60 });
    expect(decideHandOut({ ...facts, ...task, runMachine: "medium-1x", runMaxAttempts: 1, runMaxDurationSeconds: 1 })).toMatchObject({
      machine: "medium-1x",
      maxAttempts: 1,
      maxDurationSeconds: 5,
    });
  });

  it("takes the default machine when the named one is unknown", () => {
    expect(chooseMachine("huge", null)).toBe("small-1x");
  });
});

describe("an idempotency key", () => {
  const now = new Date(1000);
  it("stands for its run until it expires", () => {
    expect(keyStillCounts({ expiresAt: new Date(1001), runStatus: "EXECUTING" }, now)).toBe(true);
    expect(keyStillCounts({ expiresAt: new Date(1000), runStatus: "EXECUTING" }, now)).toBe(false);
  });

  it("no longer stands for a run that failed, expired or is gone", () => {
    for (const runStatus of ["COMPLETED_WITH_ERRORS", "CRASHED", "SYSTEM_FAILURE", "TIMED_OUT", "EXPIRED", undefined] as const) {
      expect(keyStillCounts({ expiresAt: null, runStatus }, now)).toBe(false);
    }
    for (const runStatus of ["COMPLETED_SUCCESSFULLY", "CANCELED", "DELAYED"] as const)
      expect(keyStillCounts({ expiresAt: null, runStatus }, now)).toBe(true);
  });

  it("of any length is stored in a bounded one, and two long ones stay apart", () => {
    const long = "é".repeat(2048);
    expect(storedKey("short")).toBe("short");
    expect(storedKey(long).length).toBeLessThan(100);
    expect(storedKey(long)).not.toBe(storedKey(`${long}x`));
  });
});

describe("what is secret at rest", () => {
  const key = encryptionKeyBytes(new Secret("ab".repeat(32)));

  it("comes back as it was, and looks different each time", () => {
    const [one, two] = [seal(key, "tr_prod_x", systemRandom), seal(key, "tr_prod_x", systemRandom)];
    expect(one.equals(two)).toBe(false);
    expect([unseal(key, one), unseal(key, two)]).toEqual(["tr_prod_x", "tr_prod_x"]);
  });

  it("does not open with a changed byte or another key", () => {
    const sealed = seal(key, "secret", systemRandom);
    const other = encryptionKeyBytes(new Secret("cd".repeat(32)));
    expect(() => unseal(other, sealed)).toThrow(/authenticate/);
    sealed[14] = (sealed[14] ?? 0) ^ 1;
    expect(() => unseal(key, sealed)).toThrow(/authenticate/);
  });

  it("refuses a key that is not 32 bytes and names the variable", () => {
    expect(() => encryptionKeyBytes(new Secret("short"))).toThrow(/TORPOR_ENCRYPTION_KEY/);
  });
});

describe("annotations", () => {
  it("carry the root's source and schedule down to every descendant", () => {
    const root = annotationsOf({ triggerSource: "schedule", rootScheduleId: "sched_1" }, undefined);
    const child = annotationsOf({ triggerSource: "sdk" }, root);
    const grandchild = annotationsOf({ triggerSource: "sdk" }, child);
    expect(grandchild).toMatchObject({ triggerSource: "sdk", rootTriggerSource: "schedule", rootScheduleId: "sched_1" });
  });
});

describe("other small rules", () => {
  it("a sleeper is looked at less and less often, twelve times", () => {
    const settings = DEFAULT_SETTINGS.suspendedRecheck;
    const delays = Array.from({ length: 13 }, (_, times) => recheckDelayMs(times, settings));
    expect(delays.slice(0, 3)).toEqual([60_000, 120_000, 240_000]);
    expect(delays[11]).toBe(6 * 3_600_000);
    expect(delays[12]).toBeUndefined();
  });

  it("versions count up within a day of UTC", () => {
    const day = dayOf(new Date("2026-11-24T23:59:59Z"));
    expect(nextVersion(day, [])).toBe("20261124.1");
    expect(nextVersion(day, ["20261124.9", "20261124.10"])).toBe("20261124.11");
  });

  it("settings that are left out are the defaults, also inside a group", () => {
    const settings = completeSettings({ encryptionKey: new Secret("x"), stalls: { executingMs: 1 } });
    expect(settings.stalls).toEqual({ ...DEFAULT_SETTINGS.stalls, executingMs: 1 });
    expect(settings.giveBack).toEqual(DEFAULT_SETTINGS.giveBack);
  });
});
