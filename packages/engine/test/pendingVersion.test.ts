import { sleep, systemClock } from "@torpor/kernel";
import { describe, expect, it } from "vitest";
import { DEPLOYMENT, inMs, task, usePlane, type Scene } from "./harness.ts";

const plane = usePlane({ settings: { promoteBatchSize: 3 } });

/** Triggers a run that no version can run yet, and asks for it. */
async function parked(scene: Scene, taskId = "future", options: Parameters<Scene["trigger"]>[1] = {}): Promise<string> {
  const runId = await scene.trigger(taskId, options);
  expect(await scene.worker.tryTake()).toBeUndefined();
  await scene.untilState(runId, "RUN_CREATED/PENDING_VERSION");
  return runId;
}

/** Statements that wait for a lock now. */
async function lockWaits(): Promise<number> {
  const { rows } = await plane.sql.query<{ count: string }>(
    "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()",
  );
  return Number(rows[0]?.count);
}

describe("a run that no deployed version can run yet", () => {
  it("is not handed out when its task is unknown: it becomes PENDING_VERSION and leaves the queue (behaviour 29)", async () => {
    const scene = await plane.scene();
    const runId = await parked(scene);
    expect((await scene.history(runId)).at(-1)).toBe("RUN_CREATED");
    expect((await scene.engine.counts()).queued).toBe(0);
    expect((await scene.engine.counts()).executing).toBe(0);
  });

  it("is not handed out when its queue is unknown (behaviour 30)", async () => {
    const scene = await plane.scene();
    const runId = await parked(scene, "work", { queueName: "unheard-of" });
    expect(await scene.state(runId)).toBe("RUN_CREATED/PENDING_VERSION");
  });

  it("does not hold up the runs behind it", async () => {
    const scene = await plane.scene();
    const future = await scene.trigger("future");
    const plain = await scene.trigger();
    const taken = await plane.until("the known one is handed out", () => scene.worker.tryTake());
    expect(taken.runId).toBe(plain);
    await scene.untilState(future, "RUN_CREATED/PENDING_VERSION");
  });

  it("waits even if the environment has no version at all", async () => {
    const scene = await plane.scene();
    const staging = scene.environments.find((env) => env.type !== "PRODUCTION");
    if (staging === undefined) throw new Error("A project has more than one environment");
    const runId = await scene.trigger("work", {}, staging);
    expect(await scene.worker.tryTake()).toBeUndefined();
    await plane.until("it waits for a version", async () => (await scene.engine.getRun(staging, runId))?.status === "PENDING_VERSION");
    await scene.deploy({}, staging);
    expect((await plane.until("it is handed out", () => scene.worker.tryTake())).runId).toBe(runId);
  });

  it("is queued again when a version has its task, with all others, in batches, within a second (behaviour 31)", async () => {
    const scene = await plane.scene();
    const runIds = [];
    for (let index = 0; index < 10; index++) runIds.push(await scene.trigger("future"));
    const other = await scene.trigger("far-future");
    for (let tries = 0; tries < 11; tries++) await scene.worker.tryTake();
    for (const runId of [...runIds, other]) await scene.untilState(runId, "RUN_CREATED/PENDING_VERSION");
    const deployedAtMs = plane.clock.nowMs();
    await scene.deploy({ tasks: [task("work"), task("future")] });
    for (const runId of runIds) await scene.untilState(runId, "QUEUED/PENDING");
    expect(plane.clock.nowMs() - deployedAtMs).toBeLessThan(1_000);
    const taken = await scene.worker.takeAll();
    expect(taken.map((held) => held.runId).toSorted()).toEqual(runIds.toSorted());
    await scene.untilState(other, "RUN_CREATED/PENDING_VERSION");
  });

  it("is queued again when a version has its queue", async () => {
    const scene = await plane.scene();
    const runId = await parked(scene, "work", { queueName: "later" });
    await scene.deploy({ queues: [{ name: "later", concurrencyLimit: 2 }] });
    expect((await scene.untilTaken(runId)).runId).toBe(runId);
  });

  it("has its time to live counted from that moment, not from the trigger (behaviour 32)", async () => {
    const scene = await plane.scene();
    const runId = await parked(scene, "future", { ttlSeconds: 10 });
    await plane.clock.advance(60_000);
    await plane.timersHandled();
    expect(await scene.state(runId)).toBe("RUN_CREATED/PENDING_VERSION");
    await scene.deploy({ tasks: [task("future")] });
    await scene.untilState(runId, "QUEUED/PENDING");
    await plane.clock.advance(5_000);
    await plane.timersHandled();
    expect(await scene.state(runId)).toBe("QUEUED/PENDING");
    await plane.clock.advance(6_000);
    await scene.untilState(runId, "FINISHED/EXPIRED");
  });

  it("can be cancelled", async () => {
    const scene = await plane.scene();
    const runId = await parked(scene);
    await scene.cancel(runId);
    expect(await scene.state(runId)).toBe("FINISHED/CANCELED");
    await scene.deploy({ tasks: [task("future")] });
    await plane.timersHandled();
    expect(await scene.worker.tryTake()).toBeUndefined();
  });

  it("is not lost when the version is deployed in the moment in which it is set aside", async () => {
    const second = await plane.anotherEngine();
    for (let round = 0; round < 20; round++) {
      const scene = await plane.scene();
      const runId = await scene.trigger("future");
      const deploying = second.deploy(scene.env, { ...DEPLOYMENT, contentHash: "with the future", tasks: [task("future")] });
      await sleep(systemClock, round % 10);
      const [early] = await Promise.all([scene.worker.tryTake(), deploying]);
      const held = early ?? (await scene.untilTaken(runId));
      expect(held.runId).toBe(runId);
    }
    await second.close();
  });

  it("is not lost when the version is deployed while its setting aside is not committed", async () => {
    const scene = await plane.scene();
    const runId = await scene.trigger("future");
    const blocker = await plane.sql.connect();
    try {
      // Holds the hand-out where it has read the old version and is about to write that the run waits for another.
      await blocker.query("begin");
      await blocker.query("lock table parked in share mode");
      const taking = scene.worker.wait(0);
      await plane.until("the hand-out is held", async () => (await lockWaits()) >= 1);
      let isDeployed = false;
      const deploying = scene.deploy({ tasks: [task("future")] }).then(() => (isDeployed = true));
      await plane.until("the deployment is made, or waits for the hand-out", async () => isDeployed || (await lockWaits()) >= 2);
      if (isDeployed) await plane.clock.advance(2_000);
      await blocker.query("rollback");
      await Promise.all([scene.worker.answered(taking, 0), deploying]);
    } finally {
      blocker.release();
    }
    expect((await scene.untilTaken(runId)).runId).toBe(runId);
  });
});

describe("the version of a run", () => {
  it("is the current one at its hand-out, not at its trigger", async () => {
    const scene = await plane.scene();
    await scene.trigger();
    const newer = await scene.deploy({ imageReference: "sha256:new" });
    const { message } = await scene.worker.take();
    expect(message).toMatchObject({ image: "sha256:new", backgroundWorker: { version: newer.version } });
  });

  it("stays the same over retries and sleep", async () => {
    const scene = await plane.scene();
    const { held, tokenId } = await scene.asleep();
    await scene.deploy({ imageReference: "sha256:new" });
    await scene.completeToken(tokenId);
    expect((await scene.untilTaken(held.runId)).message.backgroundWorker.version).toBe(held.message.backgroundWorker.version);
  });

  it("is the one it was locked to, though a newer one is current", async () => {
    const scene = await plane.scene();
    const older = await scene.engine.currentDeployment(scene.env);
    await scene.deploy({ imageReference: "sha256:new" });
    await scene.trigger("work", { lockToVersion: older?.version ?? "" });
    expect((await scene.worker.take()).message).toMatchObject({ image: "sha256:0000", backgroundWorker: { version: older?.version } });
  });

  it("that is deployed is newer than all before it, as a string and as a list", async () => {
    const scene = await plane.scene();
    const versions = [];
    for (let index = 0; index < 12; index++) versions.push((await scene.deploy()).version);
    expect(new Set(versions).size).toBe(12);
    const numbers = versions.map((version) => Number(version.split(".")[1]));
    expect(numbers.toSorted((a, b) => a - b)).toEqual(numbers);
    expect((await scene.engine.currentDeployment(scene.env))?.version).toBe(versions.at(-1));
  });

  it("is not made anew when what is current is deployed again", async () => {
    const scene = await plane.scene({ contentHash: "same" });
    const current = await scene.engine.currentDeployment(scene.env);
    expect(await scene.deploy({ contentHash: "same" })).toEqual(current);
    expect((await scene.engine.listDeployments(scene.env, { size: 10 })).items).toHaveLength(1);
  });

  it("is current again when it is deployed again after another one", async () => {
    const scene = await plane.scene({ contentHash: "old", imageReference: "sha256:old" });
    await scene.deploy({ contentHash: "new", imageReference: "sha256:new" });
    await scene.deploy({ contentHash: "old", imageReference: "sha256:old" });
    await scene.trigger();
    expect((await scene.worker.take()).message.image).toBe("sha256:old");
  });

  it("belongs to its environment alone", async () => {
    const scene = await plane.scene();
    const other = await plane.scene({ imageReference: "sha256:other" });
    await scene.trigger();
    await other.trigger("work", { delayUntil: inMs(plane, 10) });
    expect((await scene.worker.take()).message.image).toBe("sha256:0000");
  });
});
