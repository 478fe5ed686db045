import { sdkAuth, sdkRuns } from "@torpor/contracts";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { deployNap, ok, startTestPlatform, trigger, type TestPlatform } from "./harness.ts";

let platform: TestPlatform;

beforeAll(async () => {
  platform = await startTestPlatform({ env: { TORPOR_MAX_PAYLOAD_BYTES: "10000" } });
  await deployNap(platform);
});
afterAll(() => platform.close());

const TRIGGER = "/api/v1/tasks/nap/trigger";

describe("triggering over HTTP", () => {
  it.each([
    ["no key", null],
    ["a key that nobody has", "tr_prod_nobody"],
    ["something that looks like a public token", "aaa.bbb.ccc"],
  ])("answers 401 with %s, without saying more", async (_name, key) => {
    expect(await platform.request("POST", TRIGGER, { body: {}, key })).toMatchObject({ status: 401, json: { code: "unauthenticated" } });
  });

  it("answers 400 to JSON that is broken", async () => {
    const reply = await platform.request("POST", TRIGGER, { body: '{"payload":' });
    expect(reply).toMatchObject({ status: 400, json: { code: "body_malformed", param: "body" } });
    expect(reply.headers.get("x-should-retry")).toBe("false");
  });

  it.each([
    [{ options: { maxAttempts: "three" } }, "options.maxAttempts"],
    [{ options: { machine: "enormous" } }, "options.machine"],
    [{ payload: { key: 1 }, options: { payloadType: "application/store" } }, "payload"],
    [{ options: { queue: { name: 5 } } }, "options.queue.name"],
    [{ options: { tags: ["a", 5] } }, "options.tags"],
    [{ options: { idempotencyKey: "x".repeat(2049) } }, "options.idempotencyKey"],
  ])("answers 400 to %j and names the field", async (body, param) => {
    expect(await platform.request("POST", TRIGGER, { body })).toMatchObject({ status: 400, json: { code: "request_invalid", param } });
  });

  it.each([
    [{ options: { delay: "soonish" } }, "options.delay"],
    [{ options: { ttl: "a while" } }, "options.ttl"],
    [{ options: { idempotencyKey: "k", idempotencyKeyTTL: "never" } }, "options.idempotencyKeyTTL"],
    [{ options: { tags: Array.from({ length: 11 }, (_, at) => `t${at}`) } }, "options.tags"],
    [{ options: { debounce: { key: "k", delay: "1s" } } }, "options.debounce"],
  ])("answers 422 to %j and names the field", async (body, param) => {
    expect(await platform.request("POST", TRIGGER, { body })).toMatchObject({
      status: 422,
      json: { code: "request_unprocessable", param },
    });
  });

  it("answers 413 to a payload over the limit, and to a body over the route's", async () => {
    expect(
      await platform.request("POST", TRIGGER, { body: { payload: "x".repeat(10_001), options: { payloadType: "text/plain" } } }),
    ).toMatchObject({ status: 413, json: { param: "payload" } });
    expect((await platform.request("POST", TRIGGER, { body: { payload: "x".repeat(5_000_000) } })).status).toBe(413);
  });

  it("refuses a version that is locked to and does not exist, or that does not know the task", async () => {
    expect((await platform.request("POST", TRIGGER, { body: { options: { lockToVersion: "19990101.1" } } })).status).toBe(422);
    const { version } = await current();
    expect(
      (await platform.request("POST", "/api/v1/tasks/unknown/trigger", { body: { options: { lockToVersion: version } } })).status,
    ).toBe(422);
  });

  it("keeps a run of a task that no version knows until one does", async () => {
    const id = await trigger(platform, {}, "not-there-yet");
    expect((await platform.request("GET", `/api/v3/runs/${id}`)).json).toMatchObject({
      status: expect.stringMatching(/QUEUED|PENDING_VERSION/),
      isQueued: true,
    });
  });

  it("answers with the id and the claims for a public token", async () => {
    const reply = await platform.request("POST", TRIGGER, { body: {} });
    expect(reply).toMatchObject({ status: 200, json: { id: expect.stringMatching(/^run_/), isCached: false } });
    expect(JSON.parse(reply.headers.get("x-trigger-jwt-claims") ?? "")).toEqual({ sub: platform.environmentId, pub: true });
  });

  it("makes one run of a request that is repeated, and of two with one idempotency key", async () => {
    const headers = { "x-trigger-request-idempotency-key": "request-1" };
    const first = await platform.request("POST", TRIGGER, { body: {}, headers });
    const repeated = await platform.request("POST", TRIGGER, { body: {}, headers });
    expect(repeated.json["id"]).toBe(first.json["id"]);
    const one = ok(await platform.sdk.call(sdkRuns.trigger, { params: { taskId: "nap" }, body: { options: { idempotencyKey: "once" } } }));
    const two = ok(await platform.sdk.call(sdkRuns.trigger, { params: { taskId: "nap" }, body: { options: { idempotencyKey: "once" } } }));
    expect(two).toEqual({ id: one.id, isCached: true });
    ok(await platform.sdk.call(sdkRuns.resetIdempotencyKey, { params: { key: "once" }, body: { taskIdentifier: "nap" } }));
    const three = ok(
      await platform.sdk.call(sdkRuns.trigger, { params: { taskId: "nap" }, body: { options: { idempotencyKey: "once" } } }),
    );
    expect(three.isCached).toBe(false);
  });

  it("takes a task whose name has slashes and spaces", async () => {
    const id = await trigger(platform, {}, "group/other task");
    expect(ok(await platform.sdk.call(sdkRuns.retrieve, { params: { runId: id } })).taskIdentifier).toBe("group/other task");
  });
});

describe("public tokens", () => {
  it("lets a token that may trigger one task trigger that one, once", async () => {
    const token = await publicToken(["trigger:tasks:nap"], true);
    expect((await platform.request("POST", "/api/v1/tasks/other/trigger", { body: {}, key: token })).status).toBe(403);
    const headers = { "x-trigger-request-idempotency-key": "only-once" };
    const used = await platform.request("POST", TRIGGER, { body: {}, key: token, headers });
    expect(used.status).toBe(200);
    // A try of the same request, because the first answer was lost.
    expect((await platform.request("POST", TRIGGER, { body: {}, key: token, headers })).json["id"]).toBe(used.json["id"]);
    const again = await platform.request("POST", TRIGGER, { body: {}, key: token });
    expect(again).toMatchObject({ status: 401, json: { error: expect.stringContaining("used before") } });
    // Whoever cannot sign is given a token for what it has made.
    const readable = await platform.request("GET", `/api/v3/runs/${String(used.json["id"])}`, {
      key: used.headers.get("x-trigger-jwt") ?? "",
    });
    expect(readable).toMatchObject({ status: 200, json: { id: used.json["id"] } });
  });

  it("does not let a token for one run read another, or use what wants the secret key", async () => {
    const [mine, other] = [await trigger(platform), await trigger(platform)];
    const key = await publicToken([`read:runs:${mine}`]);
    expect((await platform.request("GET", `/api/v3/runs/${mine}`, { key })).status).toBe(200);
    expect(await platform.request("GET", `/api/v3/runs/${other}`, { key })).toMatchObject({ status: 403, json: { code: "forbidden" } });
    expect((await platform.request("POST", `/api/v2/runs/${mine}/cancel`, { key })).status).toBe(403);
    expect((await platform.request("GET", "/api/v1/queues", { key })).status).toBe(401);
  });

  it("lets browsers of any site call what takes a public token, errors included", async () => {
    const preflight = await fetch(`${platform.url}${TRIGGER}`, { method: "OPTIONS" });
    expect(preflight.status).toBe(204);
    expect(preflight.headers.get("access-control-allow-origin")).toBe("*");
    expect((await platform.request("POST", TRIGGER, { body: {}, key: null })).headers.get("access-control-allow-origin")).toBe("*");
    expect((await platform.request("GET", "/api/v1/queues")).headers.get("access-control-allow-origin")).toBeNull();
  });

  async function publicToken(scopes: string[], oneTimeUse = false): Promise<string> {
    return ok(await platform.sdk.call(sdkAuth.createPublicToken, { body: { scopes, oneTimeUse } })).token;
  }
});

async function current(): Promise<{ version: string }> {
  return (await platform.request("GET", "/api/v1/deployments/current")).json as { version: string };
}
