import { describe, expect, it } from "vitest";
import type { Page, PageRequest } from "../src/api.ts";
import { usePlane } from "./harness.ts";

const plane = usePlane();

/** All items, page after page. */
async function readAll<T>(read: (page: PageRequest) => Promise<Page<T>>, size: number): Promise<T[][]> {
  const pages: T[][] = [];
  let after: string | null | undefined;
  do {
    const page = await read(typeof after === "string" ? { size, after } : { size });
    pages.push([...page.items]);
    after = page.next;
  } while (after !== null && pages.length < 100);
  return pages;
}

describe("lists", () => {
  it("of runs are read page by page, the newest first, each run once", async () => {
    const scene = await plane.scene();
    const runIds: string[] = [];
    for (let index = 0; index < 7; index++) {
      runIds.unshift(await scene.trigger());
      await plane.clock.advance(1);
    }
    const pages = await readAll((page) => scene.engine.listRuns(scene.env, {}, page), 3);
    expect(pages.map((page) => page.length)).toEqual([3, 3, 1]);
    expect(pages.flat().map((run) => run.id)).toEqual(runIds);
  });

  it("of runs can be read backwards too", async () => {
    const scene = await plane.scene();
    for (let index = 0; index < 5; index++) await scene.trigger();
    const first = await scene.engine.listRuns(scene.env, {}, { size: 2 });
    const second = await scene.engine.listRuns(scene.env, {}, { size: 2, after: first.next ?? "" });
    const back = await scene.engine.listRuns(scene.env, {}, { size: 2, before: second.previous ?? "" });
    expect(first.previous).toBeNull();
    expect(back.items.map((run) => run.id)).toEqual(first.items.map((run) => run.id));
  });

  it("of runs are narrowed by status, task, tag, batch and time", async () => {
    const scene = await plane.scene();
    const done = await scene.executing("work", { tags: ["red"] });
    await done.succeed();
    await plane.clock.advance(1_000);
    const between = new Date(plane.clock.nowMs());
    await plane.clock.advance(1_000);
    const child = await scene.trigger("child", { tags: ["red", "blue"] });
    const ids = async (filter: Parameters<typeof scene.engine.listRuns>[1]): Promise<string[]> =>
      (await scene.engine.listRuns(scene.env, filter, { size: 10 })).items.map((run) => run.id);
    expect(await ids({ statuses: ["COMPLETED_SUCCESSFULLY"] })).toEqual([done.runId]);
    expect(await ids({ taskIdentifiers: ["child"] })).toEqual([child]);
    expect(await ids({ tags: ["blue"] })).toEqual([child]);
    expect(await ids({ tags: ["red"] })).toEqual([child, done.runId]);
    expect(await ids({ createdAfter: between })).toEqual([child]);
    expect(await ids({ createdBefore: between })).toEqual([done.runId]);
    expect(await ids({ batchId: "batch_unknown" })).toEqual([]);
    expect(await ids({ statuses: ["PENDING"], tags: ["green"] })).toEqual([]);
  });

  it("of tokens are narrowed by status and tag", async () => {
    const scene = await plane.scene();
    const open = await scene.token({ tags: ["a"] });
    const done = await scene.token({ tags: ["a", "b"] });
    await scene.completeToken(done);
    const ids = async (filter: Parameters<typeof scene.engine.listTokens>[1]): Promise<string[]> =>
      (await scene.engine.listTokens(scene.env, filter, { size: 10 })).items.map((token) => token.id);
    expect(await ids({ statuses: ["WAITING"] })).toEqual([open]);
    expect(await ids({ statuses: ["COMPLETED"] })).toEqual([done]);
    expect((await ids({ tags: ["a"] })).toSorted()).toEqual([open, done].toSorted());
    expect(await ids({ tags: ["b"] })).toEqual([done]);
  });

  it("of an environment show nothing of another", async () => {
    const scene = await plane.scene();
    const other = await plane.scene();
    await scene.trigger();
    await scene.token();
    expect((await other.engine.listRuns(other.env, {}, { size: 10 })).items).toEqual([]);
    expect((await other.engine.listTokens(other.env, {}, { size: 10 })).items).toEqual([]);
  });

  it("of queues hold one for each task and each named queue", async () => {
    const scene = await plane.scene();
    const { items } = await scene.engine.listQueues(scene.env, { size: 100 });
    expect(items.map((queue) => [queue.type, queue.name, queue.concurrencyLimit])).toEqual(
      expect.arrayContaining([
        ["task", "task/work", null],
        ["custom", "single", 1],
      ]) as unknown,
    );
  });
});

describe("tags", () => {
  it("are added once each", async () => {
    const scene = await plane.scene();
    const runId = await scene.trigger("work", { tags: ["a"] });
    expect(await scene.engine.addTags(scene.env, runId, ["b", "a", "b"])).toEqual({ kind: "added" });
    expect((await scene.run(runId)).tags.toSorted()).toEqual(["a", "b"]);
  });
});

describe("environment variables", () => {
  it("reach the attempt, are replaced only when asked to, and can be deleted", async () => {
    const scene = await plane.scene();
    await scene.engine.setEnvVars(scene.env, { A: "1", B: "é=\n'" }, true);
    await scene.engine.setEnvVars(scene.env, { A: "2", C: "3" }, false);
    expect(await scene.engine.getEnvVars(scene.env)).toEqual({ A: "1", B: "é=\n'", C: "3" });
    await scene.engine.setEnvVars(scene.env, { A: "4" }, true);
    expect(await scene.engine.deleteEnvVar(scene.env, "C")).toBe(true);
    expect(await scene.engine.deleteEnvVar(scene.env, "C")).toBe(false);
    await scene.trigger();
    const started = await (await scene.worker.take()).start();
    expect(started.envVars).toMatchObject({ A: "4", B: "é=\n'" });
    expect(started.envVars["C"]).toBeUndefined();
  });

  it("do not stand in the database in clear", async () => {
    const scene = await plane.scene();
    await scene.engine.setEnvVars(scene.env, { SECRET: "correct horse battery staple" }, true);
    const { rows } = await plane.sql
      .query<{ text: string }>("select convert_from(value_cipher, 'SQL_ASCII') as text from env_vars where environment_id = $1", [
        scene.env.id,
      ])
      .catch(() => ({ rows: [] }));
    expect(JSON.stringify(rows)).not.toContain("battery");
    expect(await scene.engine.getEnvVars(scene.env)).toEqual({ SECRET: "correct horse battery staple" });
  });
});

describe("a run's timeline", () => {
  it("tells what engine and nodes did, in the order of time", async () => {
    const scene = await plane.scene();
    const held = await scene.executing();
    await plane.clock.advance(10);
    await scene.engine.addTimeline(scene.worker.ref, held.runId, [
      {
        name: "snapshot.scheduled",
        at: new Date(plane.clock.nowMs()),
        reason: "waits for a token",
        durationMs: 5,
        properties: { bytes: 7 },
      },
    ]);
    await plane.clock.advance(10);
    await held.succeed();
    const lines = (await scene.engine.timeline(scene.env, held.runId)) ?? [];
    expect(lines.map((line) => line.source)).toEqual(["engine", "engine", "engine", "node", "engine"]);
    expect(lines[3]).toMatchObject({ name: "snapshot.scheduled", reason: "waits for a token", durationMs: 5, properties: { bytes: 7 } });
    const times = lines.map((line) => new Date(line.at).getTime());
    expect(times.toSorted((a, b) => a - b)).toEqual(times);
    expect(await scene.engine.addTimeline(scene.worker.ref, "run_unknown", [{ name: "x", at: new Date() }])).toMatchObject({
      kind: "refused",
      code: "not_found",
    });
  });
});
