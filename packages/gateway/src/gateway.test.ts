import { connect } from "node:net";
import { RunnerId } from "@torpor/contracts";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { contract, FakeNode, ok, TOKEN, type FakeGateway } from "./testing/fakeGateway.ts";

const name = RunnerId.parse("runner-1");
const body = { name, image: "torpor/p@1", env: { A: "1" }, cpu: 1, memory_gb: 0.5, metadata: { runId: "run_1" } };

let node: FakeNode;
let gateway: FakeGateway;

beforeEach(async () => {
  node = await FakeNode.make();
  gateway = await node.start();
});
afterEach(() => node.close());

const create = (more: Partial<typeof body> = {}) => gateway.client.call(contract.createInstance, { body: { ...body, ...more } });
const events = (after: number, waitMs = 0) => gateway.client.call(contract.events, { query: { after, wait_ms: waitMs } });
const get = () => gateway.client.call(contract.getInstance, { params: { name } });

async function post(
  path: string,
  text: string,
  token = TOKEN,
): Promise<{ status: number; json: Record<string, unknown>; retry: string | null }> {
  const response = await fetch(gateway.running.url + path, { method: "POST", body: text, headers: { authorization: `Bearer ${token}` } });
  return {
    status: response.status,
    json: (await response.json()) as Record<string, unknown>,
    retry: response.headers.get("x-should-retry"),
  };
}

describe("bad requests to the gateway", () => {
  it("answers 401 without the token, with another, and with a part of it, and starts nothing", async () => {
    for (const token of ["", "wrong", TOKEN.slice(0, -1)]) {
      expect(await post("/api/instances", JSON.stringify(body), token)).toMatchObject({ status: 401, json: { code: "unauthenticated" } });
    }
    expect(node.host.calls).toEqual([]);
  });

  it("answers 400 to malformed JSON", async () => {
    expect(await post("/api/instances", '{"name": ')).toMatchObject({ status: 400, json: { code: "body_malformed" } });
  });

  it("names the field that is wrong", async () => {
    expect(await post("/api/instances", JSON.stringify({ ...body, cpu: "two" }))).toMatchObject({
      status: 400,
      json: { code: "request_invalid", param: "cpu" },
    });
    expect(await post("/api/instances", JSON.stringify({ ...body, name: "../etc" }))).toMatchObject({
      status: 400,
      json: { param: "name" },
    });
    expect(await post("/api/instances/runner-1/snapshot", JSON.stringify({ callback: { url: "nowhere", metadata: {} } }))).toMatchObject({
      status: 400,
      json: { param: "callback.url" },
    });
  });

  it("answers 413 to a body over the limit", async () => {
    const answer = await post("/api/instances", JSON.stringify({ ...body, env: { A: "x".repeat(1_100_000) } }));
    expect(answer).toMatchObject({ status: 413, json: { code: "body_too_large" } });
  });

  it("says which image it does not have, and that trying again is useless", async () => {
    const answer = await post("/api/instances", JSON.stringify({ ...body, image: "nothing:latest" }));
    expect(answer).toMatchObject({ status: 422, json: { param: "image" }, retry: "false" });
    expect(String(answer.json["error"])).toContain("nothing:latest");
  });

  it("answers 404 with the name to a question about an instance it does not have", async () => {
    expect(await get()).toMatchObject({ kind: "refused", status: 404, message: expect.stringContaining("runner-1") });
  });

  it("answers 501 to templates", async () => {
    const outcome = await gateway.client.call(contract.createTemplate, { body: { image: "x", machine_configs: [] } });
    expect(outcome).toMatchObject({ kind: "refused", status: 501, mayRetry: false });
  });

  it("refuses sockets beyond its limit and goes on serving afterwards", async () => {
    const sockets = await Promise.all(
      Array.from(
        { length: 1_100 },
        () =>
          new Promise<{ destroy(): void }>((resolve) => {
            const socket = connect(gateway.running.port, "127.0.0.1");
            socket.once("connect", () => resolve(socket)).once("error", () => resolve(socket));
          }),
      ),
    );
    for (const socket of sockets) socket.destroy();
    await expect.poll(async () => (await gateway.client.call(contract.listInstances)).kind, { timeout: 10_000 }).toBe("ok");
  });
});

describe("creating instances", () => {
  it("answers the same instance to the same request, and starts one sandbox", async () => {
    const first = ok(await create());
    expect(ok(await create()).id).toBe(first.id);
    expect(node.host.sandboxes.size).toBe(1);
  });

  it("answers the same instance to the same request while the first is still starting", async () => {
    const both = await Promise.all([create(), create(), create()]);
    expect(new Set(both.map((outcome) => ok(outcome).id)).size).toBe(1);
    expect(node.host.sandboxes.size).toBe(1);
  });

  it("refuses a name in use with another body, and does not call it a success", async () => {
    ok(await create());
    expect(await create({ env: { A: "2" } })).toMatchObject({ kind: "refused", status: 409, code: "name_taken" });
  });

  it("answers the same instance after a restart", async () => {
    const first = ok(await create());
    gateway = await node.start();
    expect(ok(await create()).id).toBe(first.id);
    expect(node.host.sandboxes.size).toBe(1);
  });

  it("answers the same instance when it has ended meanwhile: a repeated request is not a second start", async () => {
    const first = ok(await create());
    gateway.driver.exit(first.id, 0);
    await expect.poll(async () => (await get()).kind).toBe("refused");
    expect(ok(await create()).id).toBe(first.id);
    await expect.poll(() => node.host.sandboxes.size).toBe(0);
  });

  it("gives the name of an instance that ended to another request", async () => {
    const first = ok(await create());
    gateway.driver.exit(first.id, 0);
    await expect.poll(async () => (await get()).kind).toBe("refused");
    const second = ok(await create({ env: { A: "2" } }));
    expect(second.id).not.toBe(first.id);
    expect(ok(await get()).id).toBe(second.id);
  });

  it("says 500 when it certainly did not start, and the same request may be tried again", async () => {
    node.host.failNext("create", "refuse");
    expect(await create()).toMatchObject({ kind: "refused", status: 500, code: "sandbox_not_started", mayRetry: true });
    expect((await create()).kind).toBe("ok");
  });

  it("says 502 when it may have started, does not invite a retry, and leaves nothing running", async () => {
    node.host.failNext("create", "lose_reply");
    expect(await create()).toMatchObject({ kind: "refused", status: 502, code: "sandbox_maybe_started", mayRetry: false });
    expect(node.host.sandboxes.size).toBe(0);
  });

  it("says 503 when the node is full", async () => {
    gateway = await node.start({ config: { maxSandboxes: 1 } });
    ok(await create());
    const other = await create({ name: RunnerId.parse("runner-2") });
    expect(other).toMatchObject({ kind: "refused", status: 503, code: "no_capacity", mayRetry: true });
  });

  it("says 503 when the disk is nearly full", async () => {
    gateway = await node.start({ config: { minFreeDiskBytes: Number.MAX_SAFE_INTEGER } });
    expect(await create()).toMatchObject({ kind: "refused", status: 503, message: expect.stringContaining("disk") });
  });

  it("deletes an instance, and deleting it again succeeds", async () => {
    ok(await create());
    for (let count = 0; count < 2; count++)
      expect((await gateway.client.call(contract.deleteInstance, { params: { name } })).kind).toBe("ok");
    expect(node.host.sandboxes.size).toBe(0);
    expect(ok(await gateway.client.call(contract.listInstances)).instances).toEqual([]);
  });

  it("names one that ended by itself to who asks for those, until it is deleted, after a restart too", async () => {
    const { id } = ok(await create());
    gateway.driver.exit(id, 3);
    const ended = async () => ok(await gateway.client.call(contract.listInstances, { query: { ended: "true" } })).instances;
    await expect.poll(ended, { timeout: 10_000 }).toMatchObject([{ id, name, state: "gone", exit: { exitCode: 3, reason: "exited" } }]);
    expect(ok(await gateway.client.call(contract.listInstances)).instances).toEqual([]);
    await node.kill(gateway);
    gateway = await node.start();
    expect(await ended()).toMatchObject([{ id, state: "gone", exit: { exitCode: 3 } }]);
    ok(await gateway.client.call(contract.deleteInstance, { params: { name }, query: { id: "sbxother" } }));
    expect(await ended()).toHaveLength(1);
    ok(await gateway.client.call(contract.deleteInstance, { params: { name }, query: { id } }));
    expect(await ended()).toEqual([]);
  });

  it("does not delete another that has got the name since, when it is told which is meant", async () => {
    const { id } = ok(await create());
    ok(await gateway.client.call(contract.deleteInstance, { params: { name }, query: { id: "sbxformer" } }));
    expect(ok(await gateway.client.call(contract.listInstances)).instances).toMatchObject([{ id, state: "running" }]);
  });

  it("says 500 when a sandbox cannot be freed, and frees it when asked again", async () => {
    ok(await create());
    for (let count = 0; count < 4; count++) node.host.failNext("destroy", "refuse");
    const deleting = gateway.client.call(contract.deleteInstance, { params: { name } });
    await expect.poll(() => node.host.calls.filter((call) => call.startsWith("destroy")).length).toBe(1);
    await gateway.clock.advance(10_000);
    expect(await deleting).toMatchObject({ kind: "refused", status: 500 });
    expect((await gateway.client.call(contract.deleteInstance, { params: { name } })).kind).toBe("ok");
    expect(node.host.sandboxes.size).toBe(0);
  });
});

describe("events", () => {
  it("wakes a reader who waits when a sandbox ends", async () => {
    const { id } = ok(await create());
    const { next } = ok(await events(0));
    const waiting = events(next, 30_000);
    gateway.driver.exit(id, 3);
    expect(ok(await waiting).events).toMatchObject([{ type: "exited", name, id, exitCode: 3, reason: "exited" }]);
  });

  it("lets a reader go when the time is over and nothing happened", async () => {
    const { next } = ok(await events(0));
    const waiting = events(next, 5_000);
    await expect.poll(() => gateway.clock.nextInMs).toBeLessThanOrEqual(5_000);
    await gateway.clock.advance(5_000);
    expect(ok(await waiting)).toEqual({ events: [], next });
  });

  it("tells everything since the restart to a reader with an older cursor", async () => {
    const { id } = ok(await create());
    const { next } = ok(await events(0));
    await node.kill(gateway);
    gateway.driver.exit(id, 0);
    gateway = await node.start();
    expect(ok(await events(next)).events).toMatchObject([
      { type: "exited", id, exitCode: null, reason: "ended_while_the_gateway_was_down" },
    ]);
  });

  it("says nothing of a sandbox that was deleted", async () => {
    ok(await create());
    await gateway.client.call(contract.deleteInstance, { params: { name } });
    expect(ok(await events(0)).events).toEqual([]);
  });
});

describe("the node", () => {
  it("tells what it can and has left, to who has the token only", async () => {
    expect(ok(await gateway.client.call(contract.node))).toMatchObject({
      driver: "fake",
      canSnapshot: true,
      warnings: [],
      reach: { services: {} },
    });
    expect((await fetch(`${gateway.running.url}/api/node`)).status).toBe(401);
  });

  it("counts starts in its metrics", async () => {
    ok(await create());
    const text = await (await fetch(`${gateway.running.url}/metrics`)).text();
    expect(text).toContain('torpor_gateway_starts_total{how="create",outcome="started"} 1');
    expect(text).toContain('torpor_gateway_sandboxes{state="running"} 1');
  });
});
