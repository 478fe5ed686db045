import { beforeAll, describe, expect, it } from "vitest";
import type { Engine } from "../src/api.ts";
import { inMs, task, usePlane } from "./harness.ts";
import { both, executingRuns, race, waitingRuns } from "./race.ts";
import { must, success, userError } from "./worker.ts";

// Two calls about one run at the same moment, through two processes. Each race is run many times, ten at once,
// with the second call shifted by a few milliseconds either way.

const ROUNDS = 50;
const plane = usePlane({ settings: { environmentConcurrencyLimit: 500 } });
let second: Engine;

beforeAll(async () => {
  second = await plane.anotherEngine();
});

describe("in a race between nodes and callers", () => {
  it("between waking a sleeping run and cancelling it, it ends cancelled and is not handed out", async () => {
    const scene = await plane.scene();
    const { runs, tokenOf } = await waitingRuns(scene, ROUNDS);
    await Promise.all(runs.map((held) => held.suspend()));
    await race(runs, async (held, round) => {
      await both(
        round,
        () => scene.completeToken(tokenOf.get(held.runId) ?? ""),
        () => second.cancelRun(scene.env, held.runId, "race"),
      );
      expect(await scene.state(held.runId)).toBe("FINISHED/CANCELED");
    });
    await plane.timersHandled();
    expect(await scene.worker.tryTake()).toBeUndefined();
  });

  it("between starting an attempt and cancelling its run, the run is left to its node as PENDING_CANCEL", async () => {
    const scene = await plane.scene();
    await Promise.all(Array.from({ length: ROUNDS }, () => scene.trigger()));
    await race(await scene.worker.takeAll(ROUNDS), async (held, round) => {
      await both(
        round,
        () => held.tryStart(),
        () => second.cancelRun(scene.env, held.runId, "race"),
      );
      expect(await scene.state(held.runId)).toBe("PENDING_CANCEL/CANCELED");
    });
  });

  it("between a node that starts a run and one that gives it back, one of them wins", async () => {
    const scene = await plane.scene();
    await Promise.all(Array.from({ length: ROUNDS }, () => scene.trigger()));
    await race(await scene.worker.takeAll(ROUNDS), async (held, round) => {
      const twin = held.through(plane.worker("node-2", second));
      const [started, released] = await both(
        round,
        () => held.tryStart(),
        () => twin.release(),
      );
      expect([started.kind, released.kind]).toSatisfy(([a, b]: string[]) => (a === "started") !== (b === "released"));
      expect(await scene.state(held.runId)).toBe(started.kind === "started" ? "EXECUTING/EXECUTING" : "QUEUED/PENDING");
    });
  });

  it("between a stall that is declared and the completion that arrives, the run ends or is retried, once", async () => {
    const scene = await plane.scene({ tasks: [task("work", { retry: { maxAttempts: 2 } })] });
    for (let round = 0; round < 20; round++) {
      const held = await scene.executing();
      const [completed] = await both(
        round,
        () => held.tryComplete(success(held.runId, "in time")),
        () => plane.clock.advance(300_001),
      );
      await plane.timersHandled();
      if (completed.kind === "completed") {
        expect(await scene.state(held.runId)).toBe("FINISHED/COMPLETED_SUCCESSFULLY");
      } else {
        await scene.untilState(held.runId, "QUEUED/PENDING");
        await scene.cancel(held.runId);
      }
    }
  });

  it("between a retry and a token for the failed attempt, the new attempt sees nothing of the old wait", async () => {
    const scene = await plane.scene({ tasks: [task("work", { retry: { maxAttempts: 3 } })] });
    const { runs, tokenOf } = await waitingRuns(scene, ROUNDS);
    await race(runs, async (held, round) => {
      const [failed] = await both(
        round,
        () => held.tryComplete({ ok: false, id: held.runId, error: userError("gave up"), retry: { timestamp: 0, delay: 0 } }),
        () => second.completeToken(scene.env, tokenOf.get(held.runId) ?? "", {}),
      );
      if (failed.kind !== "completed") {
        await scene.untilState(held.runId, "EXECUTING/EXECUTING");
        await held.catchUp();
        await held.fail(userError("gave up"), 0);
      }
      await held.start();
      const latest = await held.latest();
      expect(latest).toMatchObject({ snapshot: { friendlyId: held.snapshotId }, run: { attemptNumber: 2 }, completedWaitpoints: [] });
    });
  });

  it("between many waits' ends at the same time for runs asleep, each run is queued once", async () => {
    const scene = await plane.scene();
    const runs = await executingRuns(scene, 40);
    for (const held of runs) must(await scene.engine.waitUntil(scene.env, held.runId, { date: inMs(plane, 60_000) }), "waiting");
    await Promise.all(runs.map((held) => held.suspend()));
    await plane.clock.advance(60_000);
    for (const held of runs) await scene.untilState(held.runId, "QUEUED/PENDING");
    await plane.timersHandled();
    for (const held of runs) expect((await scene.history(held.runId)).filter((status) => status === "QUEUED")).toHaveLength(2);
    expect(new Set((await scene.worker.takeAll()).map((held) => held.runId)).size).toBe(40);
  });
});
