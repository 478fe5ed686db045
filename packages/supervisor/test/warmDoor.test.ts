import { gateway, warmStart, WARM_START_HEADERS, workerActions, type DequeuedMessage } from "@torpor/contracts";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { isOlder, isServedBy } from "../src/workload/warmCaller.ts";
import { FakeBroker } from "./fakeBroker.ts";
import { Loopback } from "./loopback.ts";
import { TestNode, TestRunner } from "./node.ts";

let node: TestNode;
let broker: FakeBroker;

async function started(env: Record<string, string> = {}): Promise<void> {
  broker = new FakeBroker();
  node = new TestNode({
    addresses: true,
    broker: new Loopback(broker.routes()),
    env: { TRIGGER_WARM_START_DISPATCH_URL: "http://broker.test", ...env },
  });
  await node.start();
}

beforeEach(async () => await started());
afterEach(() => node.kill());

interface Waiting {
  readonly runner: TestRunner;
  /** What its poll was answered with: the run, or the status. */
  readonly answer: Promise<string | number>;
  readonly cut: () => void;
}

/** A runner that has finished its run and waits for another one. */
async function idle(headers: Record<string, string> = {}): Promise<Waiting> {
  const before = new Set(node.gateway.names());
  const runId = node.platform.trigger();
  await node.clock.advance(10);
  const name = node.gateway.names().find((one) => !before.has(one));
  if (name === undefined) throw new Error("no sandbox was made");
  const runner = new TestRunner(node, runId, name);
  runner.remoteAddress = String(node.gateway.instance(name).address);
  await runner.start();
  await runner.complete();
  return { runner, ...(await poll(runner, headers)) };
}

async function poll(runner: TestRunner, headers: Record<string, string> = {}): Promise<Omit<Waiting, "runner">> {
  const gone = new AbortController();
  node.workload.remoteAddress = runner.remoteAddress;
  const answered = node.workload.call(warmStart.poll, { headers, signal: gone.signal });
  await node.clock.advance(1);
  const answer = answered.then((outcome) =>
    outcome.kind === "ok" ? outcome.body.run.friendlyId : outcome.kind === "refused" ? outcome.status : 0,
  );
  return { answer, cut: () => gone.abort() };
}

/** Another run of the same version. */
async function nextRun(): Promise<string> {
  const runId = node.platform.trigger();
  await node.clock.advance(1);
  return runId;
}

/** The same runner, about another run. */
function about(runId: string, { runner }: Waiting): TestRunner {
  const other = new TestRunner(node, runId, runner.name);
  other.remoteAddress = runner.remoteAddress;
  return other;
}

const ownSandbox = (runId: string): string => `runner-${runId.slice("run_".length)}`;

describe("a runner that waits for another run", () => {
  it("has taken a run when it makes its first call about it, and then the run's timeline says so", async () => {
    const waiting = await idle();
    const runId = await nextRun();
    expect(await waiting.answer).toBe(runId);
    expect(broker.settled).toEqual([]);
    await about(runId, waiting).start();
    await node.clock.advance(300);
    expect(broker.settled).toEqual([{ controllerId: waiting.runner.name, runId, outcome: "started" }]);
    expect(node.gateway.names()).toEqual([waiting.runner.name]);
    const line = node.platform.timeline.find(({ event }) => event.name === "launch.warm");
    expect(line).toMatchObject({ runId, event: { runnerId: waiting.runner.name, reason: "idle_runner" } });
  });

  it("and gives no sign of the run within a second loses it to a sandbox of its own; what it says later is refused and harms nothing (L12)", async () => {
    const waiting = await idle();
    const runId = await nextRun();
    await node.clock.advance(990);
    expect(node.gateway.names()).not.toContain(ownSandbox(runId));
    await node.clock.advance(20);
    expect(node.gateway.names()).toContain(ownSandbox(runId));
    expect(await about(runId, waiting).start()).toMatchObject({ kind: "refused", status: 403 });
    const fresh = new TestRunner(node, runId, ownSandbox(runId));
    fresh.remoteAddress = String(node.gateway.instance(fresh.name).address);
    expect((await fresh.start()).kind).toBe("ok");
    expect(node.platform.statuses(runId).filter((status) => status === "EXECUTING")).toHaveLength(1);
  });

  it("and begins a run just when we have given it up keeps it: no second sandbox is made", async () => {
    const waiting = await idle();
    const runId = await nextRun();
    const held = Promise.withResolvers<void>();
    node.gatewayLink.failNext(gateway.createInstance, { hold: held.promise });
    node.core.handOffs?.started("another"); // a sign of something else changes nothing
    await about(runId, waiting).start();
    await node.clock.advance(1_500);
    held.resolve();
    await node.clock.advance(10);
    expect(node.gateway.names()).toEqual([waiting.runner.name]);
    expect(node.core.runners.holderOf(runId)?.name).toBe(waiting.runner.name);
  });

  it("and begins a run as it was handed out before gives no sign for whoever has it since: that one is silent, and the run starts in a sandbox of its own (L12)", async () => {
    node.kill();
    await started({ TRIGGER_DEQUEUE_IDLE_INTERVAL_MS: "0" });
    const silent = await idle();
    broker.gives = false;
    const late = await idle();
    broker.gives = true;
    const runId = await nextRun();
    expect(await late.answer).toBe(runId);
    const begins = about(runId, late);
    node.platform.stall(runId);
    await node.clock.advance(1);
    expect(await silent.answer).toBe(runId);
    expect(await begins.start()).toMatchObject({ kind: "refused", status: 409 });
    await node.clock.advance(1_010);
    expect(node.gateway.names()).toContain(ownSandbox(runId));
  });

  it("is removed when it was given a run and is never heard of again", async () => {
    const waiting = await idle();
    await nextRun();
    await node.clock.advance(32_000);
    expect(node.gateway.names()).not.toContain(waiting.runner.name);
  });

  it("whose connection had ended before the run was written refuses it at once, and the run does not wait a second", async () => {
    const waiting = await idle();
    const runId = await nextRun();
    waiting.cut();
    await node.clock.advance(10);
    expect(broker.settled).toMatchObject([{ runId, outcome: "refused" }]);
    expect(node.gateway.names()).toContain(ownSandbox(runId));
  });

  it("is known by its address and what this node made it for, whatever it says", async () => {
    const waiting = await idle({ [WARM_START_HEADERS.deploymentId]: "deployment_foreign", [WARM_START_HEADERS.controllerId]: "somebody" });
    const { headers } = broker.waiting.get(waiting.runner.name) ?? {};
    const { serves } = node.core.runners.get(waiting.runner.name) ?? {};
    expect(headers).toMatchObject({
      [WARM_START_HEADERS.deploymentId]: serves?.deploymentId,
      [WARM_START_HEADERS.deploymentVersion]: serves?.version,
    });
    expect(serves?.deploymentId).not.toBe("deployment_foreign");
  });

  it("from an address that is not known yet is told to come again", async () => {
    const answer = await node.core.warm.door?.poll({ headers: {}, remoteAddress: "10.0.0.9", signal: new AbortController().signal });
    expect(answer).toEqual({ kind: "again" });
  });

  it.each(["frozen", "starting"] as const)("whose sandbox is %s by now refuses, and the run starts elsewhere at once", async (phase) => {
    const waiting = await idle();
    const runner = node.core.runners.get(waiting.runner.name);
    if (runner !== undefined) runner.phase = phase;
    const runId = await nextRun();
    expect(broker.settled).toMatchObject([{ runId, outcome: "refused" }]);
    expect(node.gateway.names()).toContain(ownSandbox(runId));
  });

  it("is not registered any more from the moment its sandbox is gone", async () => {
    const waiting = await idle();
    expect([...broker.waiting.keys()]).toEqual([waiting.runner.name]);
    node.gateway.exit(waiting.runner.name, null, "killed");
    await node.clock.advance(50);
    expect(broker.waiting.size).toBe(0);
  });

  it("is not registered any more near the end of its poll, because its client might not read the answer", async () => {
    await started({ TRIGGER_WARM_START_KEEPALIVE_MS: "290000" });
    const waiting = await idle();
    await node.clock.advance(239_400);
    expect(broker.waiting.size).toBe(1);
    await node.clock.advance(200);
    expect(broker.waiting.size).toBe(0);
    waiting.cut();
    await poll(waiting.runner);
    expect(broker.waiting.size).toBe(1);
  });

  it("is registered once, by its newest poll, even before the older one has ended", async () => {
    const waiting = await idle();
    const newer = await poll(waiting.runner);
    expect(await waiting.answer).toBe(503);
    const runId = await nextRun();
    expect(await newer.answer).toBe(runId);
  });

  it("gets one of two runs that come at once; the other gets a sandbox of its own", async () => {
    const waiting = await idle();
    const [first, second] = [node.platform.trigger(), node.platform.trigger()];
    await node.clock.advance(6_000);
    const taken = await waiting.answer;
    expect([first, second]).toContain(taken);
    expect(node.gateway.names()).toContain(ownSandbox(taken === first ? second : first));
  });

  it("leaves when its time is over, over all its polls together", async () => {
    const waiting = await idle();
    await node.clock.advance(20_000);
    waiting.cut();
    const again = await poll(waiting.runner);
    await node.clock.advance(9_000);
    expect(broker.waiting.size).toBe(1);
    await node.clock.advance(1_500);
    expect(await again.answer).toBe(503);
  });

  it("leaves when this node drains, and whoever comes then is told to leave at once", async () => {
    const waiting = await idle();
    node.core.state.draining = true;
    node.core.warm.door?.clear();
    expect(await waiting.answer).toBe(503);
    expect(await (await poll(waiting.runner)).answer).toBe(503);
    expect(node.core.warm.door?.connect().keepaliveMs).toBe(0);
  });

  it("leaves when a run of a newer version has come, and stays for one of an older", async () => {
    const waiting = await idle();
    const serves = node.core.runners.get(waiting.runner.name)?.serves;
    if (serves === undefined) throw new Error("nobody said whose runs it executes");
    node.core.warm.door?.newerVersion({ ...serves, version: "0" });
    expect(broker.waiting.size).toBe(1);
    node.core.warm.door?.newerVersion({ ...serves, environmentId: "another", version: "99" });
    expect(broker.waiting.size).toBe(1);
    node.core.warm.door?.newerVersion({ ...serves, version: `${serves.version}9` });
    expect(await waiting.answer).toBe(503);
  });

  it("leaves when another version becomes the current one of its environment", async () => {
    const waiting = await idle();
    node.core.warm.door?.promoted("another");
    expect(broker.waiting.size).toBe(1);
    node.core.warm.door?.promoted("env_1");
    expect(await waiting.answer).toBe(503);
    expect(await (await poll(waiting.runner)).answer).toBe(503); // as one that was executing at that moment
  });

  it("gives way to a run that has no room beside it", async () => {
    node.gateway.memoryTotalBytes = 0.6 * 1024 ** 3;
    await node.core.room.refresh();
    const waiting = await idle();
    broker.gives = false; // it is of another kind
    const runId = await nextRun();
    await node.clock.advance(600);
    expect(node.gateway.names()).toEqual([ownSandbox(runId)]);
    expect(await waiting.answer).toBe(503);
  });

  it("that left its run without a word has left it for good: the platform is told", async () => {
    const runner = await node.executing();
    runner.remoteAddress = String(node.gateway.instance(runner.name).address);
    await poll(runner);
    await node.clock.advance(50);
    expect(node.platform.run(runner.runId).completions).toMatchObject([{ ok: false }]);
  });
});

describe("a second run of one runner", () => {
  it("whose start was accepted and not answered is told of at once, whatever attempt its first run was at", async () => {
    const waiting = await idle();
    const runId = await nextRun();
    node.platform.run(runId).attemptNumber = 1; // an attempt that failed elsewhere
    node.platformLink.failNext(workerActions.startAttempt, "lose_reply");
    const starting = about(runId, waiting).start();
    await node.clock.advance(25_000);
    expect(await starting).toMatchObject({ kind: "refused" });
    expect(node.platform.run(runId).completions).toMatchObject([{ ok: false }]);
  });
});

describe("a second start of one run", () => {
  it("is refused by the engine, and its runner's leaving does not end the attempt that goes on", async () => {
    const first = await node.executing();
    node.core.runners.takeAway(first.runId); // as it is when the first runs on another node
    const second = new TestRunner(node, first.runId, "runner-second");
    second.snapshotId = node.platform.run(first.runId).history.find(({ snapshot }) => snapshot.executionStatus === "PENDING_EXECUTING")
      ?.snapshot.friendlyId as string;
    node.core.runners.bind(node.core.runners.identifyOrAdd("runner-second", "127.0.0.1"), first.runId);
    expect(await second.start()).toMatchObject({ kind: "refused", status: 409 });
    const runner = node.core.runners.get("runner-second");
    if (runner !== undefined) await node.core.endings.abandoned(runner, first.runId, "the runner has left the run");
    expect(node.platform.status(first.runId)).toBe("EXECUTING");
    expect(node.platform.run(first.runId).completions).toEqual([]);
  });
});

describe("whose runs a runner may execute", () => {
  const serves = { deploymentId: "deployment_1", version: "1", environmentId: "env_1" };
  const message = (change: Record<string, unknown> = {}): DequeuedMessage =>
    ({ deployment: { friendlyId: "deployment_1" }, backgroundWorker: { version: "1" }, environment: { id: "env_1" }, ...change }) as never;

  it.each<[string, Record<string, unknown>, boolean]>([
    ["of its own version and environment", {}, true],
    ["of another environment", { environment: { id: "env_2" } }, false],
    ["of another version", { backgroundWorker: { version: "2" } }, false],
    ["of another deployment", { deployment: { friendlyId: "deployment_2" } }, false],
  ])("a run %s", (_what, change, may) => {
    expect(isServedBy({ serves }, message(change))).toBe(may);
  });

  it("none, when nobody said whose", () => {
    expect(isServedBy({ serves: undefined }, message())).toBe(false);
  });

  it.each([
    ["20260101.9", "20260101.10", true],
    ["20260101.10", "20260101.9", false],
    ["20260101.1", "20260102.1", true],
    ["20260101.1", "20260101.1", false],
    ["v1", "v2", false],
  ])("%s is older than %s: %s", (a, b, older) => {
    expect(isOlder(a, b)).toBe(older);
  });
});
