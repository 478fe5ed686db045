import { describe, expect, it } from "vitest";
import type { DequeuedMessage } from "@torpor/contracts";
import { imageReference, servedBy } from "../src/launch/environment.ts";
import { warmReadyInMs } from "../src/launch/idleRunners.ts";
import { freshName, restoredName } from "../src/launch/names.ts";
import { planLaunch, roomOf, type LaunchFacts, type LaunchPlan } from "../src/launch/plan.ts";
import { readNotes, judgeAdoption, holdsRun } from "../src/runners/adoption.ts";
import { hasEnded, INTENT_TRANSITIONS, nextIntentState, printLifeCycle, type IntentState } from "../src/snapshot/lifeCycle.ts";

const ROOM: LaunchFacts = {
  hasCheckpoint: false,
  hasImage: true,
  needs: { cpu: 1, memoryGib: 1 },
  free: { cpu: 2, memoryGib: 2 },
  idle: { cpu: 0, memoryGib: 0 },
  nodeIsEmpty: false,
  canAskWarm: false,
  draining: false,
  hasTemplate: false,
  warmReadyInMs: null,
  othersStart: false,
};
const CLONE: LaunchPlan = { kind: "clone", reason: "no_idle_runner" };
/** A template, and an idle runner that has just begun to prepare its next worker. */
const PREPARING: Partial<LaunchFacts> = { hasTemplate: true, canAskWarm: true, warmReadyInMs: 390 };
const FULL = { free: { cpu: 0.5, memoryGib: 2 } };

describe("what becomes of a run that was handed out", () => {
  it.each<[string, Partial<LaunchFacts>, LaunchPlan]>([
    ["a fresh run with room", {}, { kind: "cold" }],
    ["a fresh run whose image is booted already", { hasTemplate: true }, CLONE],
    [
      "the same when idle runners are kept: who is there comes before who must be made",
      { hasTemplate: true, canAskWarm: true },
      { kind: "warm" },
    ],
    ["a sleeping run whose image is booted already", { hasTemplate: true, hasCheckpoint: true }, { kind: "restore" }],
    [
      "the same on a full node: a clone needs the room of any sandbox",
      { hasTemplate: true, ...FULL },
      { kind: "give_back", reason: "node_full" },
    ],
    ["an idle runner that has only just ended its run", PREPARING, { kind: "clone", reason: "idle_runner_prepares" }],
    ["one that is nearly ready for the next", { ...PREPARING, warmReadyInMs: 150 }, { kind: "warm" }],
    ["one that is ready", { ...PREPARING, warmReadyInMs: 0 }, { kind: "warm" }],
    ["one that has only just ended its run, without a template", { ...PREPARING, hasTemplate: false }, { kind: "warm" }],
    ["the same on a full node", { ...PREPARING, ...FULL }, { kind: "warm" }],
    ["the same while other runs start: a clone would take the CPUs from them", { ...PREPARING, othersStart: true }, { kind: "warm" }],
    ["the same when none would take it", { ...PREPARING, canAskWarm: false }, CLONE],
    ["a fresh run when idle runners are kept", { canAskWarm: true }, { kind: "warm" }],
    ["the same on a full node: an idle runner has its room already", { canAskWarm: true, ...FULL }, { kind: "warm" }],
    ["a fresh run, no idle runner, full node", FULL, { kind: "give_back", reason: "node_full" }],
    ["a full node where idle runners hold enough", { ...FULL, idle: { cpu: 1, memoryGib: 1 } }, { kind: "make_room" }],
    ["a sleeping run on such a node", { hasCheckpoint: true, ...FULL, idle: { cpu: 1, memoryGib: 1 } }, { kind: "make_room" }],
    [
      "a full node where idle runners hold too little",
      { ...FULL, idle: { cpu: 0.25, memoryGib: 9 } },
      { kind: "give_back", reason: "node_full" },
    ],
    ["too little memory", { free: { cpu: 2, memoryGib: 0.5 } }, { kind: "give_back", reason: "node_full" }],
    ["larger than the node, which is empty", { ...FULL, nodeIsEmpty: true }, { kind: "cold" }],
    ["a sleeping run", { hasCheckpoint: true }, { kind: "restore" }],
    ["a sleeping run is never started warm", { hasCheckpoint: true, canAskWarm: true }, { kind: "restore" }],
    ["a sleeping run needs no image name", { hasCheckpoint: true, hasImage: false }, { kind: "restore" }],
    ["a sleeping run on a full node", { hasCheckpoint: true, ...FULL }, { kind: "give_back", reason: "node_full" }],
    ["no image", { hasImage: false, canAskWarm: true }, { kind: "give_back", reason: "no_image" }],
    ["while draining, whatever it is", { hasCheckpoint: true, draining: true }, { kind: "give_back", reason: "draining" }],
  ])("%s", (_what, facts, plan) => {
    expect(planLaunch({ ...ROOM, ...facts })).toEqual(plan);
  });
});

describe("how long an idle runner prepares its next worker", () => {
  const message = {
    deployment: { friendlyId: "deployment_1" },
    backgroundWorker: { friendlyId: "worker_1", version: "20261124.1" },
    environment: { id: "env_1" },
    run: { machine: { cpu: 1, memory: 1 } },
  } as DequeuedMessage;
  const idle = (since: number | null, more: object = {}) => ({
    serves: servedBy(message),
    room: roomOf(message),
    idleSinceMs: since,
    ...more,
  });

  it.each<[string, Parameters<typeof warmReadyInMs>[0], number | null]>([
    ["is not known where none waits", [], null],
    ["nor while all that would fit have a run", [idle(null)], null],
    ["is all of it when it has just ended its run", [idle(1_000)], 400],
    ["is what is left of it", [idle(900)], 300],
    ["is over after a while", [idle(100)], 0],
    ["is that of the one which has waited longest", [idle(1_000), idle(800), idle(950)], 200],
    ["says nothing of one that serves another version", [idle(100, { serves: { ...servedBy(message), version: "other" } })], null],
    ["nor of one on another machine", [idle(100, { room: { cpu: 64, memoryGib: 64 } })], null],
  ])("%s", (_what, runners, readyInMs) => {
    expect(warmReadyInMs(runners, message, 1_000)).toBe(readyInMs);
  });
});

describe("names of runners", () => {
  it("say run, attempt and try", () => {
    expect([freshName("run_abc", 1), freshName("run_abc", 3), freshName("run_abc", 1, 2), freshName("run_abc", 2, 3)]).toEqual([
      "runner-abc",
      "runner-abc-attempt-3",
      "runner-abc-r2",
      "runner-abc-attempt-2-r3",
    ]);
  });

  it("of two checkpoints that end alike differ only by their counter, which is why there is one", () => {
    expect([restoredName("run_abc", "checkpoint_1xxxxxxxx", 1), restoredName("run_abc", "checkpoint_1xxxxxxxx", 2)]).toEqual([
      "runner-abc-xxxxxxxx",
      "runner-abc-xxxxxxxx-2",
    ]);
  });
});

describe("the image that a gateway is asked for", () => {
  it.each([
    ["registry/p:v1@sha256:00", "registry/p:v1"],
    ["localhost:5000/p@sha256:00", "localhost:5000/p@sha256:00"],
    ["torpor/p@sha256:00", "torpor/p@sha256:00"],
    ["p:v1", "p:v1"],
  ])("%s is asked for as %s", (image, asked) => {
    expect(imageReference(image)).toBe(asked);
  });
});

describe("the life of an intent", () => {
  it("leads every state to an end, and can be cancelled in every state before the platform has accepted", () => {
    const reachable = (state: IntentState, seen: Set<IntentState>): Set<IntentState> => {
      if (!seen.has(state)) {
        seen.add(state);
        for (const next of Object.values(INTENT_TRANSITIONS[state])) reachable(next, seen);
      }
      return seen;
    };
    const all = reachable("scheduled", new Set());
    expect([...all].toSorted()).toEqual((Object.keys(INTENT_TRANSITIONS) as IntentState[]).toSorted());
    for (const state of all) {
      expect([...reachable(state, new Set())].some(hasEnded)).toBe(true);
      if (!hasEnded(state) && state !== "accepted") expect(nextIntentState(state, "cancel")).toMatch(/canceled|thawed/);
    }
  });

  it("refuses a step that the table does not have", () => {
    expect(() => nextIntentState("accepted", "cancel")).toThrow("Cannot cancel an intent that is accepted");
    expect(() => nextIntentState("scheduled", "freeze")).toThrow("Cannot freeze an intent that is scheduled");
  });

  it("prints itself for the docs", () => {
    expect(printLifeCycle()).toContain("  freezing --> thawed: cancel");
  });
});

/** The latest snapshot of a run, as far as it matters here. */
function latest(executionStatus: string, change: object = {}): never {
  const snapshot = { id: "x", friendlyId: "snapshot_5", executionStatus, description: "", createdAt: new Date(0) };
  return {
    version: "1",
    snapshot,
    run: { id: "r", friendlyId: "run_1", status: "EXECUTING", attemptNumber: 1 },
    completedWaitpoints: [],
    ...change,
  } as never;
}

describe("a sandbox that is found at a start", () => {
  const notes = {
    runId: "run_1",
    snapshotId: "snapshot_2",
    lineage: [],
    attemptNumber: 1,
    room: { cpu: 1, memoryGib: 1 },
    isRestored: false,
    isAhead: false,
  };
  const ours = { checkpoint: { id: "c", friendlyId: "c", type: "COMPUTE", location: "mem_1" } };

  it.each([
    ["held", "SUSPENDED", ours, "commit"],
    ["held", "QUEUED", ours, "commit"],
    ["held", "PENDING_EXECUTING", ours, "commit"],
    ["held", "SUSPENDED", {}, "thaw"],
    ["held", "EXECUTING_WITH_WAITPOINTS", {}, "report"],
    ["held", "EXECUTING", {}, "thaw"],
    ["freezing", "EXECUTING_WITH_WAITPOINTS", {}, "thaw"],
    ["running", "EXECUTING", {}, "holds"],
    ["running", "EXECUTING_WITH_WAITPOINTS", {}, "holds"],
    ["running", "FINISHED", {}, "unknown"],
    ["running", "PENDING_EXECUTING", {}, "unknown"],
    ["running", "EXECUTING", { run: { attemptNumber: 2 } }, "unknown"],
  ] as const)("%s, its run %s (%o): %s", (state, status, change, kind) => {
    expect(judgeAdoption({ state, memoryImageId: "mem_1" as never }, notes, latest(status, change)).kind).toBe(kind);
  });

  it("for which a memory image is reserved is removed, whatever its run does: it never went on", () => {
    const found = { state: "running", memoryImageId: null, reservedImageId: "mem_1" as never } as const;
    for (const status of ["SUSPENDED", "PENDING_EXECUTING", "EXECUTING", "FINISHED"] as const)
      expect(judgeAdoption(found, notes, latest(status)).kind).toBe("remove");
  });

  it("that is still being made ready ahead is removed: its image will be reserved, and it would go on from that", () => {
    const found = { state: "starting", memoryImageId: null, reservedImageId: null } as const;
    for (const status of ["SUSPENDED", "PENDING_EXECUTING", "EXECUTING"] as const)
      expect(judgeAdoption(found, { ...notes, isAhead: true }, latest(status)).kind).toBe("remove");
    expect(judgeAdoption(found, notes, latest("EXECUTING")).kind).toBe("holds");
  });

  it("handed out at this very snapshot has the run, at another it has not", () => {
    expect(holdsRun({ ...notes, snapshotId: "snapshot_5" }, latest("PENDING_EXECUTING"))).toBe(true);
    expect(holdsRun(notes, latest("PENDING_EXECUTING"))).toBe(false);
  });

  it("that no supervisor has made is left alone", () => {
    expect(readNotes({ metadata: { somebody: "else" } })).toBeNull();
  });
});
