import { gateway, workerActions } from "@torpor/contracts";
import { afterEach, describe, expect, it } from "vitest";
import { TestNode, TestRunner, type NodeOptions } from "./node.ts";

let node: TestNode;
afterEach(() => node.kill());

async function started(options: NodeOptions = {}): Promise<TestNode> {
  node = new TestNode(options);
  return await node.start();
}

async function triggered(advanceMs = 5_000): Promise<string> {
  const runId = node.platform.trigger();
  await node.clock.advance(advanceMs);
  return runId;
}

describe("a fresh run", () => {
  it("gets a sandbox of its name, with everything that the runner needs to begin", async () => {
    await started();
    const runId = await triggered(10);
    const [name = ""] = node.gateway.names();
    expect(name).toBe(`runner-${runId.slice("run_".length)}`);
    expect(node.gateway.instance(name).env).toMatchObject({
      TRIGGER_RUN_ID: runId,
      TRIGGER_SNAPSHOT_ID: node.platform.latest(runId).snapshot.friendlyId,
      TRIGGER_RUNNER_ID: name,
      TRIGGER_SUPERVISOR_API_PORT: "8020",
      TRIGGER_DEPLOYMENT_ID: "deployment_1",
      TRIGGER_SNAPSHOT_POLL_INTERVAL_SECONDS: "2",
    });
  });

  it.each([
    ["a clone, since nobody waits for a run", { start: "clone" }, { name: "launch.cloned", reason: "no_idle_runner" }],
    ["a boot, and why", { start: "cold", start_reason: "template_damaged" }, { name: "launch.created", reason: "template_damaged" }],
    ["a boot, of a gateway that says nothing of it", {}, { name: "launch.created" }],
  ] as const)("is %s by its gateway's word, and so its timeline says", async (_what, startOf, line) => {
    await started();
    node.gateway.startOf = startOf;
    const runId = await triggered();
    const told = node.platform.timeline.filter((one) => one.runId === runId && one.event.name.startsWith("launch."));
    expect(told.map(({ event }) => event)).toMatchObject([line]);
  });

  it("is one of a hundred that came at once: each gets its sandbox, asked for in the order of the queue, and none is given back", async () => {
    node = new TestNode({ env: { TORPOR_CPU_OVERCOMMIT: "100" } });
    node.gateway.memoryTotalBytes = 1_024 * 1_024 ** 3;
    await node.start();
    const runIds = Array.from({ length: 100 }, () => node.platform.trigger());
    await node.clock.advance(5_000);
    const asked = node.gatewayLink
      .callsOf(gateway.createInstance)
      .map(({ body }) => (body as { metadata: { runId: string } }).metadata.runId);
    expect(asked).toEqual(runIds);
    expect(node.platform.timeline.map(({ event }) => event.name)).toEqual(runIds.map(() => "launch.created"));
  });

  it("is tried again after a 500 or 503, under a new name that the runner knows", async () => {
    await started();
    node.gatewayLink.failNext(gateway.createInstance, { status: 500, code: "sandbox_not_started" }, { status: 503, code: "no_capacity" });
    const runId = await triggered();
    const [name = ""] = node.gateway.names();
    expect(name).toBe(`runner-${runId.slice("run_".length)}-r3`);
    expect(node.gateway.instance(name).env["TRIGGER_RUNNER_ID"]).toBe(name);
  });

  it("keeps its name when the gateway was not reached", async () => {
    await started();
    node.gatewayLink.failNext(gateway.createInstance, "refuse_connection");
    const runId = await triggered();
    expect(node.gateway.names()).toEqual([`runner-${runId.slice("run_".length)}`]);
  });

  it("whose creation may have happened is looked up, never made twice", async () => {
    await started();
    node.gatewayLink.failNext(gateway.createInstance, "lose_reply");
    const runId = await triggered();
    expect(node.gatewayLink.countOf(gateway.createInstance)).toBe(1);
    expect(node.gateway.names().length).toBe(1);
    expect((await new TestRunner(node, runId, node.gateway.names()[0] ?? "").start()).kind).toBe("ok");
  });

  it("whose creation turns out not to have happened is made again", async () => {
    await started();
    node.gatewayLink.failNext(gateway.createInstance, "lose_request");
    await triggered();
    expect(node.gateway.names().length).toBe(1);
  });

  it.each([
    [{ status: 500, code: "sandbox_not_started" } as const, 3, "sandbox_not_started"],
    [{ status: 503, code: "no_capacity" } as const, 3, "no_capacity"],
    [{ status: 400, code: "request_invalid" } as const, 1, "gateway_refused"],
  ])("that cannot be placed (%o) is given back with its reason after %i tries", async (fault, tries, reason) => {
    await started();
    node.gatewayLink.failNext(gateway.createInstance, ...Array.from({ length: tries }, () => fault));
    const runId = await triggered();
    expect(node.platform.run(runId).released).toEqual([reason]);
    expect(node.gateway.names()).toEqual([]);
  });

  it("is given back even when the platform is away at first", async () => {
    await started();
    node.gatewayLink.failNext(gateway.createInstance, { status: 400 });
    node.platformLink.failNext(workerActions.release, "refuse_connection", { status: 503 });
    const runId = await triggered();
    expect(node.platform.run(runId).released).toEqual(["gateway_refused"]);
  });

  it("handed out again under a name that an earlier hand-out left behind: the leftover goes, the run gets another name", async () => {
    await started();
    const runId = await triggered(10);
    const [old = ""] = node.gateway.names();
    node.core.runners.remove(old);
    node.platform.stall(runId);
    await node.clock.advance(2_000);
    expect(node.gateway.names()).toEqual([`${old}-r2`]);
  });

  it("waits for room when the node is full, and is given back when none appears", async () => {
    await started();
    node.gateway.memoryTotalBytes = 1.4 * 1024 ** 3;
    await node.core.room.refresh();
    const runs = [await triggered(100), await triggered(100)];
    expect(node.gateway.names().length).toBe(2);
    const third = node.platform.trigger();
    await node.clock.advance(20_000);
    expect(node.platform.status(third)).toBe("QUEUED");
    node.gateway.exit(node.gateway.names()[0] ?? "", 0);
    await node.clock.advance(5_000);
    expect(node.platform.status(third)).toBe("PENDING_EXECUTING");
    expect(runs.length).toBe(2);
  });

  it("larger than the whole node is tried when the node is empty", async () => {
    await started();
    node.gateway.memoryTotalBytes = 0.2 * 1024 ** 3;
    await node.core.room.refresh();
    await triggered(100);
    expect(node.gateway.names().length).toBe(1);
  });
});
