import { machinePreset, warmStart, WARM_START_HEADERS, type DequeuedMessage } from "@torpor/contracts";
import { RouteClient } from "@torpor/http";
import { ManualClock } from "@torpor/kernel";
import { createMetrics, silentLog } from "@torpor/observe";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ConfigError, readConfig } from "./config.ts";
import { deploymentIdShown } from "./idleKey.ts";
import { startWarmStart, type RunningWarmStart } from "./warmStart.ts";

let clock: ManualClock;
let broker: RunningWarmStart;
let client: RouteClient;

beforeEach(async () => {
  clock = new ManualClock();
  broker = await startWarmStart(readConfig({ TORPOR_WARM_START_PORT: "0", TORPOR_WARM_START_MAX_IDLE: "3" }), {
    clock,
    log: silentLog,
    metrics: createMetrics({ withProcess: false }),
  });
  client = new RouteClient({ baseUrl: broker.url, timeoutMs: 10_000 });
});
afterEach(async () => {
  await client.close();
  await broker.close();
});

function message(runId = "run_1", change: Partial<DequeuedMessage> = {}): DequeuedMessage {
  return {
    version: "1",
    snapshot: { id: "snapshot_1", friendlyId: "snapshot_1", executionStatus: "PENDING_EXECUTING", description: "", createdAt: new Date(0) },
    dequeuedAt: new Date(0),
    image: "img",
    completedWaitpoints: [],
    backgroundWorker: { id: "w", friendlyId: "worker_1", version: "v1" },
    deployment: { friendlyId: "deployment_1" },
    run: {
      id: runId,
      friendlyId: runId,
      isTest: false,
      isReplay: false,
      machine: machinePreset("small-1x"),
      attemptNumber: 1,
      masterQueue: "main",
      traceContext: {},
    },
    environment: { id: "env", type: "PRODUCTION" },
    organization: { id: "org" },
    project: { id: "project" },
    ...change,
  };
}

interface Idle {
  readonly taken: Promise<string>;
  readonly leave: () => void;
}

/** A runner that waits; `taken` is the run that it gets, or how its poll ended. */
async function idle(controllerId: string, change: Record<string, string> = {}): Promise<Idle> {
  const gone = new AbortController();
  const headers = {
    [WARM_START_HEADERS.controllerId]: controllerId,
    [WARM_START_HEADERS.deploymentId]: "deployment_1",
    [WARM_START_HEADERS.deploymentVersion]: "v1",
    [WARM_START_HEADERS.machineCpu]: "0.5",
    [WARM_START_HEADERS.machineMemory]: "0.5",
    [WARM_START_HEADERS.instanceName]: "node-1",
    ...change,
  };
  const before = broker.idleCount();
  const answered = client.call(warmStart.poll, { headers, signal: gone.signal });
  const taken = answered.then((outcome) =>
    outcome.kind === "ok" ? outcome.body.run.friendlyId : outcome.kind === "refused" ? `refused ${outcome.status}` : "gone",
  );
  await until(() => broker.idleCount() > before, 300);
  return { taken, leave: () => gone.abort() };
}

async function until(holds: () => boolean, withinMs = 20_000): Promise<void> {
  const endMs = performance.now() + withinMs;
  while (!holds() && performance.now() < endMs) await new Promise((resolve) => setTimeout(resolve, 2));
}

async function offer(dequeuedMessage = message()): Promise<boolean | number> {
  const outcome = await client.call(warmStart.dispatch, { body: { dequeuedMessage } });
  return outcome.kind === "ok" ? outcome.body.didWarmStart : outcome.kind === "refused" ? outcome.status : -1;
}

describe("an idle runner", () => {
  it("that has left is never given a run", async () => {
    const runner = await idle("a");
    runner.leave();
    await until(() => broker.idleCount() === 0);
    const offered = offer();
    await until(() => clock.pendingCount > 0);
    await clock.advance(1_000);
    expect(await offered).toBe(false);
  });

  it("near the end of its poll is not given a run any more, because it would not read it", async () => {
    const runner = await idle("a");
    await clock.advance(9_600);
    expect(broker.idleCount()).toBe(0);
    runner.leave();
    expect(await runner.taken).toBe("gone");
  });

  it("that is back within a moment gets the run that was offered in between", async () => {
    const first = await idle("a");
    first.leave();
    await until(() => broker.idleCount() === 0);
    const offered = offer();
    const second = await idle("a");
    expect(await second.taken).toBe("run_1");
    expect(await offered).toBe(true);
  });

  it("is only known by its newest poll, even before the older one has ended", async () => {
    const older = await idle("a");
    const newer = await idle("b").then(() => idle("a"));
    expect(await older.taken).toMatch(/refused/);
    void newer;
    expect(broker.idleCount()).toBe(2);
  });

  it("gets exactly one run, and the next run goes to another", async () => {
    const runners = [await idle("a"), await idle("b")];
    expect([await offer(message("run_1")), await offer(message("run_2"))]).toEqual([true, true]);
    expect((await Promise.all(runners.map(({ taken }) => taken))).toSorted()).toEqual(["run_1", "run_2"]);
    expect(await offer(message("run_3"))).toBe(false);
  });

  it("beyond the limit is told to leave", async () => {
    for (const name of ["a", "b", "c"]) void (await idle(name));
    expect(await (await idle("d")).taken).toBe("refused 503");
  });

  it.each([
    ["another deployment", { deployment: { friendlyId: "deployment_2" } }],
    ["another version", { backgroundWorker: { id: "w", friendlyId: "worker_1", version: "v2" } }],
    ["a larger machine", { run: { ...message().run, machine: machinePreset("small-2x") } }],
    ["a run that sleeps", { checkpoint: { id: "c", type: "COMPUTE" as const, location: "mem_1" } }],
    ["a run of no deployment", { deployment: {} }],
  ])("is not given a run of %s", async (_what, change) => {
    await idle("a");
    expect(await offer(message("run_1", change as Partial<DequeuedMessage>))).toBe(false);
    expect(broker.idleCount()).toBe(1);
  });

  it("that shows a token is matched by the deployment that the token names", async () => {
    const token = `x.${Buffer.from(JSON.stringify({ deployment: "deployment_1" })).toString("base64url")}.y`;
    const runner = await idle("a", { [WARM_START_HEADERS.deploymentId]: token });
    expect(await offer()).toBe(true);
    expect(await runner.taken).toBe("run_1");
  });

  it("without its headers is told which is missing", async () => {
    const outcome = await client.call(warmStart.poll, {});
    expect(outcome).toMatchObject({
      kind: "refused",
      status: 400,
      message: expect.stringContaining(WARM_START_HEADERS.controllerId) as string,
    });
  });

  it("is told how long to wait", async () => {
    expect(await client.call(warmStart.connect)).toMatchObject({ kind: "ok", body: { connectionTimeoutMs: 10_000, keepaliveMs: 30_000 } });
  });
});

/** A runner of a supervisor of ours, which tells what becomes of a run. */
async function settling(controllerId: string): Promise<Idle> {
  return await idle(controllerId, { [WARM_START_HEADERS.settles]: "true" });
}

async function offerForCertain(dequeuedMessage = message()): Promise<{ answer: Promise<unknown> }> {
  const answer = client.call(warmStart.dispatch, { body: { dequeuedMessage, acknowledge: true } });
  return { answer: answer.then((outcome) => (outcome.kind === "ok" ? outcome.body : outcome)) };
}

const settle = (controllerId: string, outcome: "started" | "refused" | "silent", runId = "run_1") =>
  client.call(warmStart.settle, { body: { controllerId, runId, outcome } });

describe("a run that was given to a runner whose supervisor tells what becomes of it (L12)", () => {
  it("counts as started when that supervisor says so, and not before", async () => {
    const runner = await settling("a");
    const { answer } = await offerForCertain();
    expect(await runner.taken).toBe("run_1");
    await settle("somebody else", "started");
    await settle("a", "started", "run_2");
    await settle("a", "started");
    expect(await answer).toEqual({ didWarmStart: true, controllerId: "a", acknowledged: true });
  });

  it("goes to the next one at once when the runner refuses it", async () => {
    const next = await settling("b");
    const first = await settling("a");
    const { answer } = await offerForCertain();
    expect(await first.taken).toBe("run_1");
    await settle("a", "refused");
    expect(await next.taken).toBe("run_1");
    await settle("b", "started");
    expect(await answer).toEqual({ didWarmStart: true, controllerId: "b", acknowledged: true });
  });

  it("goes to the next one after about a second without a word, and after two such runners back to its supervisor", async () => {
    const runners = [await settling("c"), await settling("b"), await settling("a")];
    const { answer } = await offerForCertain();
    for (const runner of [runners[2], runners[1]]) {
      expect(await runner?.taken).toBe("run_1");
      await until(() => clock.pendingCount > 0);
      await clock.advance(1_100);
    }
    expect(await answer).toEqual({ didWarmStart: false });
    expect(broker.idleCount()).toBe(1);
  });

  it("is given to one that says nothing by nature without a wait, and is not called acknowledged", async () => {
    await idle("a");
    const { answer } = await offerForCertain();
    expect(await answer).toEqual({ didWarmStart: true, controllerId: "a", acknowledged: false });
  });

  it("is answered at once to a supervisor that expects it so, and goes to the next runner behind that answer", async () => {
    const next = await settling("b");
    const silent = await settling("a");
    expect(await offer()).toBe(true);
    expect(await silent.taken).toBe("run_1");
    await until(() => clock.pendingCount > 0);
    await clock.advance(1_100);
    expect(await next.taken).toBe("run_1");
  });
});

describe("what a runner shows as its deployment", () => {
  it.each(["deployment_1", "a.b", "a.b.c", "x.e30.y"])("%s, which is no token, is taken as it is", (text) => {
    expect(deploymentIdShown(text)).toBe(text);
  });
});

describe("settings of the broker", () => {
  it("names the variable that is wrong", () => {
    expect(() => readConfig({ TORPOR_WARM_START_PORT: "many" })).toThrow(ConfigError);
    expect(() => readConfig({ TORPOR_WARM_START_PORT: "many" })).toThrow(/TORPOR_WARM_START_PORT must be a whole number/);
  });
});
