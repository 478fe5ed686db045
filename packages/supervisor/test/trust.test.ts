import { createHmac } from "node:crypto";
import { gateway, workerActions, workload, WORKLOAD_HEADERS } from "@torpor/contracts";
import { Secret } from "@torpor/kernel";
import { afterEach, describe, expect, it } from "vitest";
import { readDeploymentToken, signDeploymentToken } from "../src/workload/deploymentToken.ts";
import { ENV, TestNode, TestRunner, type NodeOptions } from "./node.ts";

let node: TestNode;
afterEach(() => node?.kill());

async function started(options: NodeOptions = {}): Promise<TestNode> {
  node = new TestNode(options);
  return await node.start();
}

async function frozen(): Promise<TestRunner> {
  node.gateway.autoFinish = false;
  const runner = await node.waiting();
  await node.clock.advance(6_000);
  return runner;
}

/** The callback of the gateway for this freeze, as it would be sent. */
function callbackOf(runner: TestRunner, change: { metadata?: Record<string, string>; payload?: Record<string, unknown> } = {}): Buffer {
  const asked = node.gatewayLink.callsOf(gateway.snapshotInstance).at(-1)?.body as { callback: { metadata: Record<string, string> } };
  const instance = node.gateway.instance(runner.name);
  return Buffer.from(
    JSON.stringify({
      status: "completed",
      snapshot_id: instance.imageId,
      instance_id: instance.id,
      held: true,
      metadata: { ...asked.callback.metadata, ...change.metadata },
      ...change.payload,
    }),
  );
}

function signed(body: Buffer, token = ENV.COMPUTE_GATEWAY_AUTH_TOKEN, at = node.clock.nowMs()): Record<string, string> {
  const key = createHmac("sha256", token).update("torpor-snapshot-callback-v1").digest();
  return { "x-torpor-signature": `t=${at},v1=${createHmac("sha256", key).update(`${at}.`).update(body).digest("hex")}` };
}

describe("callbacks of the gateway (L15)", () => {
  it("without a signature are refused, whatever they say", async () => {
    await started();
    const runner = await frozen();
    expect(await node.deliver(callbackOf(runner), {})).toBe(401);
    expect(await node.deliver(Buffer.from("{}"), {})).toBe(401);
    expect(node.core.intents.of(runner.runId)?.state).toBe("freezing");
  });

  it("signed with another key, over another body, or long ago are refused", async () => {
    await started();
    const runner = await frozen();
    const body = callbackOf(runner);
    expect(await node.deliver(body, signed(body, "another-token"))).toBe(401);
    expect(await node.deliver(callbackOf(runner, { payload: { size_bytes: 1 } }), signed(body))).toBe(401);
    expect(await node.deliver(body, signed(body, ENV.COMPUTE_GATEWAY_AUTH_TOKEN, node.clock.nowMs() - 3_600_000))).toBe(401);
  });

  it.each(["runId", "snapshotFriendlyId", "snapshotCallbackNonce", "snapshotCallbackToken"])(
    "with another %s are refused although the signature is right",
    async (field) => {
      await started();
      const runner = await frozen();
      const body = callbackOf(runner, { metadata: { [field]: "other" } });
      expect(await node.deliver(body, signed(body))).toBe(401);
      expect(node.core.intents.of(runner.runId)?.state).toBe("freezing");
    },
  );

  it("of another sandbox are refused", async () => {
    await started();
    const runner = await frozen();
    const body = callbackOf(runner, { payload: { instance_id: "sbx-other" } });
    expect(await node.deliver(body, signed(body))).toBe(401);
  });

  it("that name another memory image than the gateway promised end the sleep, thawed", async () => {
    await started();
    const runner = await frozen();
    const body = callbackOf(runner, { payload: { snapshot_id: "mem_somethingelse" } });
    expect(await node.deliver(body, signed(body))).toBe(200);
    await node.clock.advance(500);
    expect(node.platformLink.countOf(workerActions.completeSuspension)).toBe(0);
    expect(node.gateway.instance(runner.name).state).toBe("running");
  });

  it("count once: a replay is acknowledged and reports nothing again", async () => {
    await started();
    const runner = await node.waiting();
    await node.clock.advance(6_500);
    expect(node.platformLink.countOf(workerActions.completeSuspension)).toBe(1);
    expect(await node.gateway.replay()).toBe(200);
    await node.clock.advance(1_000);
    expect(node.platformLink.countOf(workerActions.completeSuspension)).toBe(1);
    expect(node.platform.status(runner.runId)).toBe("SUSPENDED");
  });

  it("that are not JSON, or not a callback, are 400", async () => {
    await started();
    for (const text of ["{", `{"status":"done"}`]) {
      const body = Buffer.from(text);
      expect(await node.deliver(body, signed(body))).toBe(400);
    }
  });
});

describe("who a sandbox is (L14)", () => {
  it("is decided by its address: another's name is refused", async () => {
    await started({ addresses: true });
    const first = await node.executing();
    const second = await node.executing();
    const intruder = new TestRunner(node, first.runId, first.name);
    intruder.remoteAddress = node.gateway.instance(second.name).address ?? "";
    expect(await intruder.heartbeat()).toMatchObject({ kind: "refused", status: 403, mayRetry: false });
  });

  it("a call from an address that no sandbox has cannot speak for one that has an address", async () => {
    await started({ addresses: true });
    const runner = await node.executing();
    runner.remoteAddress = "203.0.113.9";
    expect(await runner.heartbeat()).toMatchObject({ kind: "refused", status: 403 });
  });

  it("a name that nobody has, from a known address, is that address's runner", async () => {
    await started({ addresses: true });
    const runner = await node.waiting();
    runner.remoteAddress = node.gateway.instance(runner.name).address ?? "";
    runner.claim = "runner-nobody";
    await runner.complete();
    expect(node.core.intents.of(runner.runId)).toBeUndefined();
    expect(node.platform.status(runner.runId)).toBe("FINISHED");
  });

  it("a restored runner that still shows its first name is understood", async () => {
    await started({ addresses: true });
    const runner = await node.asleep();
    node.platform.wake(runner.runId);
    await node.clock.advance(500);
    const [name = ""] = node.gateway.names();
    runner.remoteAddress = node.gateway.instance(name).address ?? "";
    expect(await runner.since()).toEqual(["EXECUTING"]);
    runner.snapshotId = node.platform.block(runner.runId);
    await runner.suspend();
    expect(node.core.intents.of(runner.runId)?.runnerId).toBe(name);
    await node.clock.advance(6_000);
    expect(node.platform.status(runner.runId)).toBe("SUSPENDED");
  });

  it("cannot act on a run that another runner has, nor cancel its sleep", async () => {
    await started();
    const owner = await node.waiting();
    const other = await node.executing();
    const intruder = new TestRunner(node, owner.runId, other.name);
    for (const attempt of [
      () => intruder.complete(),
      () => intruder.continue(),
      () => intruder.heartbeat(),
      () => intruder.call(workload.snapshotsSince),
      () => intruder.start(),
    ]) {
      expect(await attempt()).toMatchObject({ kind: "refused", status: 403 });
    }
    expect(await intruder.suspend()).toMatchObject({ kind: "refused", status: 400 });
    expect(node.core.intents.of(owner.runId)?.runnerId).toBe(owner.name);
  });

  it("a runner that lost its run is not refused but passed on, so that it learns so from the history", async () => {
    await started();
    const stale = await node.executing();
    const fresh = await node.executing();
    const freshRunner = node.core.runners.get(fresh.name);
    if (freshRunner === undefined) throw new Error("the runner is not known");
    node.core.runners.take(freshRunner, stale.runId);
    node.platform.block(stale.runId);
    expect(await stale.since()).toEqual(["EXECUTING_WITH_WAITPOINTS"]);
    expect(node.core.runners.holderOf(stale.runId)).toBe(freshRunner);
  });
});

describe("deployment tokens", () => {
  const secret = new Secret("0123456789abcdef");
  const claims = {
    ver: 1 as const,
    deployment: "deployment_1",
    deployment_version: "1",
    environment_id: "env_1",
    environment_type: "PRODUCTION",
    org_id: "o",
    project_id: "p",
  };
  const options = { secret, expiresAt: new Date("2032-01-01") };

  it("the same deployment has the same token, because warm starts match by it", async () => {
    expect(await signDeploymentToken(claims, options)).toBe(await signDeploymentToken(claims, options));
  });

  it("of another secret do not verify; what is no token passes as a bare id", async () => {
    const token = await signDeploymentToken(claims, { ...options, secret: new Secret("fedcba9876543210") });
    expect((await readDeploymentToken(token, secret)).kind).toBe("invalid");
    expect((await readDeploymentToken("deployment_1", secret)).kind).toBe("bare_id");
    expect(await readDeploymentToken(await signDeploymentToken(claims, options), secret)).toMatchObject({
      kind: "valid",
      claims: { environment_id: "env_1" },
    });
  });

  it("enforced, are what runners are given, and a bad one is 401", async () => {
    await started({ env: { WORKLOAD_TOKEN_ENFORCEMENT: "enforce", WORKLOAD_TOKEN_SECRET: "0123456789abcdef" } });
    const runner = await node.executing();
    const token = node.gateway.instance(runner.name).env["TRIGGER_DEPLOYMENT_ID"] ?? "";
    const call = (deploymentId: string) =>
      node.workload.call(workload.heartbeat, {
        params: { runId: runner.runId, snapshotId: runner.snapshotId },
        body: {},
        headers: { [WORKLOAD_HEADERS.runnerId]: runner.claim, [WORKLOAD_HEADERS.deploymentId]: deploymentId },
      });
    expect((await call(token)).kind).toBe("ok");
    expect(await call(`${token}x`)).toMatchObject({ kind: "refused", status: 401 });
    expect(node.platformLink.callsOf(workerActions.runHeartbeat).at(-1)?.headers["x-trigger-worker-environment-id"]).toBe("env_1");
  });
});

describe("refusals of the platform", () => {
  it("keep their status and are final, so that the loser of a race does not ask for half a minute", async () => {
    await started();
    const runner = await node.executing();
    for (const fault of [{ status: 409, code: "snapshot_stale" }, { status: 409 }] as const) {
      node.platformLink.failNext(workerActions.startAttempt, fault);
      expect(await runner.start()).toMatchObject({ kind: "refused", status: 409, mayRetry: false });
    }
    node.platformLink.failNext(workerActions.runHeartbeat, { status: 429 });
    expect(await runner.heartbeat()).toMatchObject({ kind: "refused", status: 429, mayRetry: true });
  });

  it("malformed bodies are named before anything is passed on", async () => {
    await started();
    const runner = await node.executing();
    const before = node.platformLink.countOf(workerActions.completeAttempt);
    await expect(runner.complete({ ok: "yes" })).rejects.toThrow("completion");
    expect(node.platformLink.countOf(workerActions.completeAttempt)).toBe(before);
  });

  it("keys that we do not know reach the platform and the runner", async () => {
    await started();
    const runner = await node.executing();
    await runner.call(workload.completeAttempt, {
      completion: { ok: true, id: runner.runId, outputType: "x", somethingNew: 1 },
      alsoNew: 2,
    });
    expect(node.platformLink.callsOf(workerActions.completeAttempt).at(-1)?.body).toMatchObject({
      completion: { somethingNew: 1 },
      alsoNew: 2,
    });
  });
});
