import { admin, sdkRuns } from "@torpor/contracts";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { cancelAll, completeOk, deployNap, dequeueAndStart, ok, startTestPlatform, trigger, type TestPlatform } from "./harness.ts";

let platform: TestPlatform;

beforeAll(async () => {
  platform = await startTestPlatform();
  await deployNap(platform);
});
afterAll(() => platform.close());

describe("runs over HTTP", () => {
  it("answers 404 with what was looked for, and invites to ask again", async () => {
    const reply = await platform.request("GET", "/api/v3/runs/run_doesnotexist");
    expect(reply).toMatchObject({ status: 404, json: { error: expect.stringContaining("run_doesnotexist"), code: "not_found" } });
    expect(reply.headers.get("x-should-retry")).toBe("true");
  });

  it.each([
    "POST /api/v2/runs/ID/cancel",
    "POST /api/v1/runs/ID/replay",
    "GET /api/v1/runs/ID/result",
    "GET /api/v1/runs/ID/timeline",
    "GET /api/v1/runs/ID/metadata",
    "GET /api/v1/runs/ID/trace",
    "GET /api/v1/runs/ID/logs",
  ])("answers 404 to %s for a run that is not there", async (route) => {
    const [method = "", path = ""] = route.replace("ID", "run_doesnotexist").split(" ");
    expect(await platform.request(method, path)).toMatchObject({
      status: 404,
      json: { code: "not_found", error: expect.stringContaining("run_doesnotexist") },
    });
  });

  it("shows decoded values, related runs and the timeline of a run that is over", async () => {
    const other = await startTestPlatform({ databaseUrl: platform.databaseUrl });
    try {
      await cancelAll(platform);
      const id = await trigger(platform, {
        payload: '{"json":{"n":1}}',
        options: { payloadType: "application/super+json", tags: "user:1", metadata: { step: 1 }, ttl: "1h" },
      });
      const started = await dequeueAndStart(platform);
      expect(started.runId).toBe(id);
      expect((await platform.request("GET", `/api/v1/runs/${id}/result`)).status).toBe(404);
      await completeOk(platform, started);
      // Another process on the same database knows it all.
      const run = ok(await other.sdk.call(sdkRuns.retrieve, { params: { runId: id } }));
      expect(run).toMatchObject({
        status: "COMPLETED",
        isSuccess: true,
        payload: { n: 1 },
        output: { slept: true },
        tags: ["user:1"],
        metadata: { step: 1 },
        ttl: "1h",
        attemptCount: 1,
        triggerFunction: "trigger",
        relatedRuns: { children: [] },
      });
      expect(ok(await platform.sdk.call(sdkRuns.result, { params: { runId: id } }))).toMatchObject({
        ok: true,
        id,
        output: '{"json":{"slept":true}}',
      });
      const { events } = ok(await platform.sdk.call(sdkRuns.timeline, { params: { runId: id } }));
      expect(events.length).toBeGreaterThanOrEqual(4);
    } finally {
      await other.close();
    }
  });

  it("lists by filter, page by page, and refuses filters and sizes that it does not know", async () => {
    const ids = [
      await trigger(platform, { options: { tags: ["page"] } }),
      await trigger(platform, { options: { tags: ["page"] } }),
      await trigger(platform, { options: { tags: ["page"] } }),
    ];
    const first = ok(await platform.sdk.call(sdkRuns.list, { query: { "page[size]": 2, "filter[tag]": "page" } }));
    const second = ok(
      await platform.sdk.call(sdkRuns.list, { query: { "page[size]": 2, "filter[tag]": "page", "page[after]": first.pagination.next } }),
    );
    expect([...first.data, ...second.data].map((run) => run.id)).toEqual(ids.toReversed());
    expect(second.pagination.next).toBeUndefined();
    expect(await platform.request("GET", "/api/v1/runs?page[size]=101")).toMatchObject({
      status: 400,
      json: { param: expect.stringContaining("page[size]") },
    });
    expect(await platform.request("GET", "/api/v1/runs?filter[status]=SLEEPING")).toMatchObject({
      status: 400,
      json: { param: "filter[status]" },
    });
    expect((await platform.request("GET", "/api/v1/runs?filter[version]=1")).status).toBe(422);
  });

  it("moves a delayed run, and refuses to move one that is not delayed", async () => {
    const id = await trigger(platform, { options: { delay: "1h" } });
    const moved = ok(await platform.sdk.call(sdkRuns.reschedule, { params: { runId: id }, body: { delay: "2h" } }));
    expect(moved).toMatchObject({ id, status: "DELAYED" });
    expect(moved.delayedUntil?.getTime()).toBeGreaterThan(Date.now() + 7_000_000);
    expect(await platform.request("POST", `/api/v1/runs/${id}/reschedule`, { body: { delay: "whenever" } })).toMatchObject({
      status: 422,
      json: { param: "delay" },
    });
    expect([400, 422]).toContain(
      (await platform.request("POST", `/api/v1/runs/${await trigger(platform)}/reschedule`, { body: { delay: "2h" } })).status,
    );
  });

  it("cancels a run, and a second time changes nothing", async () => {
    const id = await trigger(platform);
    expect(ok(await platform.sdk.call(sdkRuns.cancel, { params: { runId: id } }))).toEqual({ id });
    expect(ok(await platform.sdk.call(sdkRuns.cancel, { params: { runId: id } }))).toEqual({ id });
    expect(ok(await platform.sdk.call(sdkRuns.retrieve, { params: { runId: id } }))).toMatchObject({
      status: "CANCELED",
      isCancelled: true,
    });
  });

  it("replays a run with its payload and tags, or with others", async () => {
    const id = await trigger(platform, { payload: '{"json":1}', options: { payloadType: "application/super+json", tags: ["kept"] } });
    const same = ok(await platform.sdk.call(sdkRuns.replay, { params: { runId: id } }));
    expect(same.id).not.toBe(id);
    expect(ok(await platform.sdk.call(sdkRuns.retrieve, { params: { runId: same.id } }))).toMatchObject({ payload: 1, tags: ["kept"] });
    const changed = ok(await platform.sdk.call(sdkRuns.replay, { params: { runId: id }, body: { payload: { a: 2 }, tags: ["new"] } }));
    expect(ok(await platform.sdk.call(sdkRuns.retrieve, { params: { runId: changed.id } }))).toMatchObject({
      payload: { a: 2 },
      tags: ["new"],
    });
  });

  it("adds tags, and changes metadata by operations", async () => {
    const id = await trigger(platform);
    ok(await platform.sdk.call(sdkRuns.addTags, { params: { runId: id }, body: { tags: ["a", "b"] } }));
    expect(ok(await platform.sdk.call(sdkRuns.retrieve, { params: { runId: id } })).tags).toEqual(["a", "b"]);
    const operations = [
      { type: "set" as const, key: "count", value: 1 },
      { type: "increment" as const, key: "count", value: 2 },
      { type: "append" as const, key: "list", value: "x" },
    ];
    expect(ok(await platform.sdk.call(sdkRuns.updateMetadata, { params: { runId: id }, body: { operations } })).metadata).toEqual({
      count: 3,
      list: ["x"],
    });
    expect(ok(await platform.sdk.call(sdkRuns.getMetadata, { params: { runId: id } })).metadata).toEqual({ count: 3, list: ["x"] });
    expect(
      await platform.request("PUT", `/api/v1/runs/${id}/metadata`, { body: { operations: [{ type: "explode", key: "x" }] } }),
    ).toMatchObject({ status: 400, json: { param: "operations[0].type" } });
  });

  it("shows nothing of one environment to the key of another", async () => {
    const id = await trigger(platform);
    const { environments } = ok(await platform.operator.call(admin.ensureProject, { body: { ref: platform.projectRef } }));
    const foreign = environments.find(({ apiKey }) => apiKey !== platform.apiKey)?.apiKey ?? "";
    expect((await platform.request("GET", `/api/v3/runs/${id}`, { key: foreign })).status).toBe(404);
    expect((await platform.request("POST", `/api/v2/runs/${id}/cancel`, { key: foreign })).status).toBe(404);
  });
});
