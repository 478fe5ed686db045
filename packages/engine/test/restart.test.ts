import { describe, expect, it } from "vitest";
import { body, inMs, task, usePlane } from "./harness.ts";
import { failure, must, userError, type HeldRun } from "./worker.ts";

const plane = usePlane({ settings: { environmentConcurrencyLimit: 500 } });

async function connectionsOf(name: string): Promise<number> {
  const { rows } = await plane.sql.query<{ count: string }>(
    "select count(*) from pg_stat_activity where application_name = $1 and datname = current_database()",
    [name],
  );
  return Number(rows[0]?.count);
}

describe("closing an engine", () => {
  it("can be repeated and leaves no connection (behaviour 91)", async () => {
    const url = new URL(plane.connectionString);
    url.searchParams.set("application_name", "closing");
    const engine = await plane.anotherEngine({}, plane.clock, url.href);
    expect(await connectionsOf("closing")).toBeGreaterThan(0);
    await Promise.all([engine.close(), engine.close()]);
    await engine.close();
    await plane.until("its connections are gone", async () => (await connectionsOf("closing")) === 0);
  });

  it("answers nodes that wait with nothing, and takes no run with it", async () => {
    const scene = await plane.scene();
    const engine = await plane.anotherEngine();
    const waiting = Array.from({ length: 5 }, () => plane.worker("node-2", engine).wait());
    const runId = scene.trigger();
    await engine.close();
    const messages = (await Promise.all(waiting)).flat();
    if (messages.length === 0) expect((await scene.untilTaken(await runId)).runId).toBe(await runId);
    else expect(messages.map((message) => message.run.friendlyId)).toEqual([await runId]);
    expect(await plane.worker("node-2", engine).wait()).toEqual([]);
  });

  it("in the midst of work lets what was begun end or fail, and hangs on nothing", async () => {
    const scene = await plane.scene();
    const engine = await plane.anotherEngine();
    const calls = Array.from({ length: 50 }, (_, index) =>
      engine.trigger(scene.env, "work", { payloadType: "application/json", requestKey: `closing-${index}` }),
    );
    const closedAtMs = performance.now();
    const closed = engine.close();
    const outcomes = await Promise.allSettled(calls);
    await closed;
    expect(performance.now() - closedAtMs).toBeLessThan(5_000);
    const acknowledged = outcomes.flatMap((outcome) =>
      outcome.status === "fulfilled" && outcome.value.kind === "triggered" ? [outcome.value.runId] : [],
    );
    for (const runId of acknowledged) expect(await scene.state(runId)).toBe("QUEUED/PENDING");
  });
});

describe("starting an engine", () => {
  it("is possible for several at once on an empty database", async () => {
    const { rows } = await plane.sql.query<{ name: string }>("select 'empty_' || floor(random() * 1e9)::text as name");
    const name = rows[0]?.name ?? "";
    await plane.sql.query(`create database ${name} template template0`);
    const url = new URL(plane.connectionString);
    url.pathname = `/${name}`;
    const engines = await Promise.all(Array.from({ length: 4 }, () => plane.anotherEngine({}, plane.clock, url.href)));
    const projects = await Promise.all(engines.map((engine) => engine.ensureProject({ ref: "proj_same" })));
    expect(new Set(projects.map(({ environments }) => environments.map((env) => env.id).join())).size).toBe(1);
    await Promise.all(engines.map((engine) => engine.close()));
  });

  it("finds everything as it was: what was due meanwhile happens, and nothing happens twice", async () => {
    const scene = await plane.scene({
      tasks: [task("work", { retry: { maxAttempts: 2 } }), task("child"), task("solo", { queueName: "single" })],
    });
    const delayed = await scene.trigger("work", { delayUntil: inMs(plane, 60_000) });
    const waiting = await scene.executing("work");
    must(await scene.engine.waitUntil(scene.env, waiting.runId, { date: inMs(plane, 61_000) }), "waiting");
    const asleep = await scene.executing("work");
    const tokenId = await scene.waitForNewToken(asleep, { timeoutAt: inMs(plane, 62_000) });
    await asleep.suspend();
    const retrying = await scene.executing("work");
    await retrying.complete(failure(retrying.runId, userError("later"), 63_000));
    await scene.executing("solo");
    const expiring = await scene.trigger("solo", { ttlSeconds: 64 });
    await plane.restart(() => plane.clock.advance(70_000));
    await scene.untilState(waiting.runId, "EXECUTING/EXECUTING");
    await scene.untilState(asleep.runId, "QUEUED/PENDING");
    await scene.untilState(expiring, "FINISHED/EXPIRED");
    await scene.untilState(delayed, "QUEUED/PENDING");
    await plane.timersHandled();
    expect((await plane.engine.getToken(scene.env, tokenId))?.status).toBe("TIMED_OUT");
    expect(await scene.history(delayed)).toEqual(["DELAYED", "QUEUED"]);
    expect(await scene.history(waiting.runId)).toEqual([
      "QUEUED",
      "PENDING_EXECUTING",
      "EXECUTING",
      "EXECUTING_WITH_WAITPOINTS",
      "EXECUTING",
    ]);
    const ready = (await scene.worker.takeAll()).map((held) => held.runId);
    expect(ready.toSorted()).toEqual([delayed, asleep.runId, retrying.runId].toSorted());
  });

  it("keeps a project's API keys and variables readable", async () => {
    const { environments } = await plane.engine.ensureProject({ ref: "proj_keys" });
    const [env] = environments;
    if (env === undefined) throw new Error("no environment");
    await plane.engine.setEnvVars(env, { SECRET: "é🦥" }, true);
    const other = await plane.anotherEngine();
    expect((await other.environmentByApiKey(env.apiKey))?.id).toBe(env.id);
    expect(await other.apiKeyOf(env.id)).toBe(env.apiKey);
    expect(await other.getEnvVars(env)).toEqual({ SECRET: "é🦥" });
    expect(await other.environmentByApiKey(`${env.apiKey}x`)).toBeNull();
    await other.close();
  });
});

describe("two engines on one database", () => {
  it("fire each timer once", async () => {
    const scene = await plane.scene();
    const second = await plane.anotherEngine();
    const due = inMs(plane, 60_000);
    const delayed = await Promise.all(Array.from({ length: 30 }, () => scene.trigger("work", { delayUntil: due })));
    const waiting: HeldRun[] = [];
    for (let index = 0; index < 30; index++) waiting.push(await scene.executing("child"));
    const told = waiting.map((held) => scene.listen(held.runId));
    for (const held of waiting) must(await scene.engine.waitUntil(scene.env, held.runId, { date: due }), "waiting");
    await plane.clock.advance(60_000);
    for (const runId of delayed) await scene.untilState(runId, "QUEUED/PENDING");
    for (const held of waiting) await scene.untilState(held.runId, "EXECUTING/EXECUTING");
    await plane.timersHandled();
    for (const runId of delayed) expect(await scene.history(runId)).toEqual(["DELAYED", "QUEUED"]);
    for (const held of waiting) expect((await scene.history(held.runId)).slice(3)).toEqual(["EXECUTING_WITH_WAITPOINTS", "EXECUTING"]);
    await plane.until("all are told", () => told.every((listener) => listener.count() >= 2));
    expect(told.map((listener) => listener.count())).toEqual(told.map(() => 2));
    await second.close();
  });

  it("take over each other's timers and resumes when one goes away without a word", async () => {
    const scene = await plane.scene();
    const doomed = await plane.anotherEngine();
    const held = await scene.executing();
    must(await doomed.waitUntil(scene.env, held.runId, { date: inMs(plane, 30_000) }), "waiting");
    const delayed = must(
      await doomed.trigger(scene.env, "work", { payloadType: "application/json", delayUntil: inMs(plane, 31_000) }),
      "triggered",
    ).runId;
    await doomed.close();
    await plane.clock.advance(31_000);
    await scene.untilState(held.runId, "EXECUTING/EXECUTING");
    await scene.untilState(delayed, "QUEUED/PENDING");
  });

  it("finish what one has begun that is lost between the end of a wait and the resume (L9)", async () => {
    const scene = await plane.scene();
    const { held, tokenId } = await scene.waiting();
    const doomed = await plane.anotherEngine();
    const holder = await plane.sql.connect();
    await holder.query("begin");
    await holder.query("select id from runs where id = $1 for update", [body(held.runId)]);
    must(await doomed.completeToken(scene.env, tokenId, {}), "completed");
    await plane.until("its resume waits for the run", async () => {
      const { rowCount } = await plane.sql.query(
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
      );
      return rowCount !== 0;
    });
    await holder.query("commit");
    holder.release();
    await scene.untilState(held.runId, "EXECUTING/EXECUTING");
    await doomed.close();
  });

  it("tell a runner's news to listeners of both", async () => {
    const scene = await plane.scene();
    const second = await plane.anotherEngine();
    const held = await scene.executing();
    const heard: string[] = [];
    const stop = second.onRunChanged((runId) => heard.push(runId));
    const tokenId = await scene.waitForNewToken(held);
    await plane.until("the other process hears of the block", () => heard.length === 1);
    stop();
    await scene.completeToken(tokenId);
    await scene.untilState(held.runId, "EXECUTING/EXECUTING");
    await plane.timersHandled();
    expect(heard).toEqual([held.runId]);
    await second.close();
  });

  it("tell of an environment's new current version to listeners of both", async () => {
    const scene = await plane.scene();
    const second = await plane.anotherEngine();
    const heard: string[] = [];
    scene.engine.onPromoted((environmentId) => heard.push(`one ${environmentId}`));
    const stop = second.onPromoted((environmentId) => heard.push(`other ${environmentId}`));
    await scene.deploy();
    await plane.until("both processes hear of it", () => heard.length === 2);
    expect(heard.toSorted()).toEqual([`one ${scene.env.id}`, `other ${scene.env.id}`]);
    stop();
    await second.close();
  });
});
