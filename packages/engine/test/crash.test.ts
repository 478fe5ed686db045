import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { sleep, systemClock } from "@torpor/kernel";
import { describe, expect, it } from "vitest";
import { inMs, task, usePlane } from "./harness.ts";
import { must } from "./worker.ts";

const plane = usePlane({ settings: { environmentConcurrencyLimit: 500 } });

async function cutConnections(): Promise<void> {
  await plane.sql.query(
    "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'torpor%' and datname = current_database()",
  );
}

async function killedAfter(what: string, times: number, ref: string): Promise<string[]> {
  const script = fileURLToPath(new URL("engineProcess.ts", import.meta.url));
  const child = spawn(process.execPath, [script, plane.connectionString, ref, plane.workerGroupId], { stdio: ["ignore", "pipe", "pipe"] });
  let text = "";
  let complaints = "";
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
    text += chunk;
    if (text.split(`${what} `).length > times + 1) child.kill("SIGKILL");
  });
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => (complaints += chunk));
  const limit = systemClock.after(100_000, () => child.kill("SIGKILL"));
  await new Promise<void>((resolve) => child.once("close", () => resolve()));
  limit.cancel();
  if (text === "") throw new Error(`The engine process said nothing: ${complaints.slice(0, 2_000)}`);
  // what stands after the last line break was not said to the end
  return text.split("\n").slice(0, -1);
}

describe("an engine whose connections are cut", () => {
  it("loses no acknowledged trigger, makes no run twice, and goes on", async () => {
    const scene = await plane.scene();
    const CALLS = 60;
    const acknowledged = new Map<string, string>();
    let cuts = 0;
    const call = async (key: string): Promise<void> => {
      for (;;) {
        try {
          acknowledged.set(key, await scene.trigger("work", { requestKey: key }));
          return;
        } catch {
          await sleep(systemClock, 5); // the answer was lost: ask again under the same key
        }
      }
    };
    const cutting = (async () => {
      for (; cuts < 5; cuts++) {
        await cutConnections();
        await sleep(systemClock, 15);
      }
    })();
    for (let from = 0; from < CALLS; from += 4) await Promise.all([0, 1, 2, 3].map((index) => call(`cut-${from + index}`)));
    await cutting;
    expect(new Set(acknowledged.values()).size).toBe(CALLS);
    const { rows } = await plane.sql.query<{ count: string }>("select count(*) from runs where environment_id = $1", [scene.env.id]);
    expect(Number(rows[0]?.count)).toBe(CALLS);
    for (const runId of acknowledged.values()) expect(await scene.state(runId)).toBe("QUEUED/PENDING");
  });

  it("still hears of triggers and timers afterwards", async () => {
    const scene = await plane.scene();
    const { held, tokenId } = await scene.waiting();
    const delayed = await scene.trigger("work", { delayUntil: inMs(plane, 20_000) });
    await cutConnections();
    const second = await plane.until("a new engine can start", () => plane.anotherEngine().catch(() => undefined));
    const told = scene.listen(held.runId);
    await plane.until("the token is completed", () =>
      second
        .completeToken(scene.env, tokenId, {})
        .then((outcome) => outcome.kind === "completed")
        .catch(() => false),
    );
    await plane.until("the run goes on", async () => (await scene.state(held.runId).catch(() => "")) === "EXECUTING/EXECUTING");
    await plane.clock.advance(20_000);
    const taken = await plane.until("the delayed run is handed out", () => scene.worker.tryTake().catch(() => undefined));
    expect(taken.runId).toBe(delayed);
    await taken.start();
    const lateToken = await scene.token();
    const lateTold = scene.listen(taken.runId);
    await second.waitForToken(scene.env, taken.runId, lateToken);
    await plane.until("the listener hears again what happens elsewhere", () => lateTold.count() > 0);
    expect(told.count()).toBeGreaterThanOrEqual(0);
    const answer = scene.worker.wait();
    const late = must(await second.trigger(scene.env, "work", { payloadType: "application/json" }), "triggered");
    expect((await scene.worker.answered(answer)).map((message) => message.run.friendlyId)).toEqual([late.runId]);
    await second.close();
  });
});

describe("an engine process that is killed", () => {
  it("has lost and repeated nothing of what it acknowledged (L10)", { timeout: 180_000 }, async () => {
    const scene = await plane.scene({ tasks: [task("work", { retry: { maxAttempts: 5 } })] });
    const lines = await killedAfter("completed", 15, scene.env.project.ref);
    const said = (what: string): string[] => lines.flatMap((line) => (line.startsWith(`${what} `) ? [line.slice(what.length + 1)] : []));
    const [triggered, completed] = [said("triggered"), said("completed")];
    expect(triggered.length).toBeGreaterThan(10);
    expect(completed.length).toBeGreaterThanOrEqual(15);
    for (const runId of completed) expect(await scene.state(runId)).toBe("FINISHED/COMPLETED_SUCCESSFULLY");
    // The process used the real time: the clock of the others must not be behind it.
    plane.clock.jumpWall(Date.now() - plane.clock.nowMs());
    const unfinished = new Set(triggered);
    await plane.until(
      "every run has ended",
      async () => {
        for (const held of await scene.worker.takeAll()) {
          if ((await held.tryStart()).kind === "started") await held.succeed("by the survivor");
        }
        await plane.clock.advance(61_000);
        for (const runId of unfinished) if ((await scene.run(runId)).executionStatus === "FINISHED") unfinished.delete(runId);
        return unfinished.size === 0;
      },
      { limitMs: 60_000 },
    );
    for (const runId of triggered) {
      expect((await scene.run(runId)).status).toBe("COMPLETED_SUCCESSFULLY");
      expect((await scene.history(runId)).filter((status) => status === "FINISHED")).toHaveLength(1);
    }
  });
});
