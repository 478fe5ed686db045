import { beforeAll, describe, expect, it } from "vitest";
import type { Engine } from "../src/api.ts";
import { usePlane } from "./harness.ts";
import { both, executingRuns, race, waitingRuns } from "./race.ts";
import { must, success, type HeldRun } from "./worker.ts";

// Two calls about one run at the same moment, through two processes. Each race is run many times, ten at once,
// with the second call shifted by a few milliseconds either way.

/** For the races that the product lives on: the ends of waits against their beginnings, and against falling asleep. */
const MANY_ROUNDS = 120;
const ROUNDS = 50;
const plane = usePlane({ settings: { environmentConcurrencyLimit: 500 } });
let second: Engine;

beforeAll(async () => {
  second = await plane.anotherEngine();
});

/** The waitpoints that a snapshot of a run has brought, read from the tables: callers see them on the latest only. */
async function broughtBy(snapshotId: string): Promise<string[]> {
  const { rows } = await plane.sql.query<{ waitpoint_id: string }>(
    "select w.waitpoint_id from snapshot_waitpoints w join snapshots s on s.run_id = w.run_id and s.completed_seq = w.seq where s.id = $1",
    [snapshotId.slice("snapshot_".length)],
  );
  return rows.map((row) => `waitpoint_${row.waitpoint_id}`);
}

describe("in a race", () => {
  it("between completing and cancelling a run, one of them decides and the run ends once", async () => {
    const scene = await plane.scene();
    const seen = new Set<string>();
    await race(await executingRuns(scene, ROUNDS), async (held, round) => {
      const [completed] = await both(
        round,
        () => held.tryComplete(success(held.runId, "done")),
        () => second.cancelRun(scene.env, held.runId, "race"),
      );
      if (completed.kind === "completed") {
        expect(await scene.state(held.runId)).toBe("FINISHED/COMPLETED_SUCCESSFULLY");
      } else {
        expect(await scene.state(held.runId)).toBe("PENDING_CANCEL/CANCELED");
        await held.catchUp();
        await held.succeed("confirmed late");
        expect(await scene.state(held.runId)).toBe("FINISHED/CANCELED");
      }
      const history = await scene.history(held.runId);
      expect(history.filter((status) => status === "FINISHED")).toHaveLength(1);
      seen.add(completed.kind);
    });
    expect([...seen].toSorted()).toEqual(["completed", "refused"]);
  });

  it("between beginning to wait for a token and its completion, the run resumes with it", async () => {
    const scene = await plane.scene();
    await race(await executingRuns(scene, MANY_ROUNDS), async (held, round) => {
      const tokenId = await scene.token();
      await both(
        round,
        () => scene.engine.waitForToken(scene.env, held.runId, tokenId),
        () => second.completeToken(scene.env, tokenId, { data: "1" }),
      );
      await scene.untilState(held.runId, "EXECUTING/EXECUTING");
      expect((await held.catchUp()).completedWaitpoints).toMatchObject([{ friendlyId: tokenId }]);
    });
  });

  it("between falling asleep and the end of the wait, the run either goes on awake or is woken with its image", async () => {
    const scene = await plane.scene();
    const { runs, tokenOf } = await waitingRuns(scene, MANY_ROUNDS);
    const accepted = new Set<string>();
    const seen = new Set<string>();
    await race(runs, async (held, round) => {
      const [outcome] = await both(
        round,
        () => held.trySuspend(`mem_${held.runId}`),
        () => second.completeToken(scene.env, tokenOf.get(held.runId) ?? "", { data: "1" }),
        25,
      );
      seen.add(outcome.kind);
      if (outcome.kind === "accepted") {
        accepted.add(held.runId);
        await scene.untilState(held.runId, "QUEUED/PENDING");
      } else {
        expect(outcome.kind).toBe("discarded");
        await scene.untilState(held.runId, "EXECUTING/EXECUTING");
      }
      expect((await held.latest()).completedWaitpoints).toMatchObject([{ friendlyId: tokenOf.get(held.runId) }]);
    });
    const woken = await scene.worker.takeAll();
    expect(woken.map((held) => held.runId).toSorted()).toEqual([...accepted].toSorted());
    for (const held of woken) {
      expect(held.message.checkpoint?.location).toBe(`mem_${held.runId}`);
      await held.continue();
    }
    expect([...seen].toSorted()).toEqual(["accepted", "discarded"]);
  });

  it("between the end of one wait and the beginning of the next, no wake-up is lost (behaviour 72)", async () => {
    const scene = await plane.scene();
    const { runs, tokenOf } = await waitingRuns(scene, MANY_ROUNDS);
    await race(runs, async (held, round) => {
      const first = tokenOf.get(held.runId) ?? "";
      const waitedAt = held.snapshotId;
      const next = await scene.token();
      const [, wait] = await both(
        round,
        () => second.completeToken(scene.env, first, { data: "1" }),
        () => scene.engine.waitForToken(scene.env, held.runId, next),
      );
      must(wait, "waiting");
      // Two waits at once (the first had not ended) or one after the other: both tokens reach the run in the end.
      await plane.until("the run has seen the first token or waits for both", async () => {
        const { completedWaitpoints, snapshot } = await held.latest();
        return (
          snapshot.executionStatus === "EXECUTING_WITH_WAITPOINTS" || completedWaitpoints.some((waitpoint) => waitpoint.friendlyId === next)
        );
      });
      await scene.completeToken(next);
      await scene.untilState(held.runId, "EXECUTING/EXECUTING");
      const ids = (
        await Promise.all(
          (await held.since(waitedAt))
            .filter((data) => data.snapshot.executionStatus === "EXECUTING")
            .map((data) => broughtBy(data.snapshot.friendlyId)),
        )
      ).flat();
      expect(ids.toSorted()).toEqual([first, next].toSorted());
    });
  });

  it("between a child's end and a parent that begins to wait for it, the parent resumes with its output", async () => {
    const scene = await plane.scene();
    const parents = await executingRuns(scene, MANY_ROUNDS);
    const keys = new Map<string, HeldRun>();
    for (const parent of parents) {
      await scene.trigger("child", { idempotencyKey: parent.runId });
      keys.set(parent.runId, await scene.worker.takeAndStart());
    }
    await race(parents, async (parent, round) => {
      const child = keys.get(parent.runId);
      if (child === undefined) throw new Error("no child");
      const trigger = (): ReturnType<Engine["trigger"]> =>
        second.trigger(scene.env, "child", {
          payloadType: "application/json",
          idempotencyKey: parent.runId,
          parentRunId: parent.runId,
          resumeParentOnCompletion: true,
        });
      const [, triggered] = await both(round, () => child.succeed("shared"), trigger);
      expect(must(triggered, "triggered").runId).toBe(child.runId);
      await scene.untilState(parent.runId, "EXECUTING/EXECUTING");
      expect((await parent.catchUp()).completedWaitpoints).toMatchObject([
        { output: "shared", completedByTaskRun: { friendlyId: child.runId } },
      ]);
    });
  });
});
