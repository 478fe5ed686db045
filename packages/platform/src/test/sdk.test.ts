import {
  auth,
  batch,
  configure,
  deployments as sdkDeployments,
  envvars,
  idempotencyKeys,
  queues,
  runs,
  tasks,
  wait,
} from "@trigger.dev/sdk";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { workerActions } from "@torpor/contracts";
import { completeOk, deployNap, dequeueAndStart, ok, startTestPlatform, type TestPlatform } from "./harness.ts";

// The npm SDK, as users have it, against the platform.

let platform: TestPlatform;

beforeAll(async () => {
  platform = await startTestPlatform();
  await deployNap(platform);
  configure({ baseURL: platform.url, accessToken: platform.apiKey });
});
afterAll(() => platform.close());

describe("the npm SDK", () => {
  it("triggers with rich values and reads the run back when it is over", async () => {
    const at = new Date("2026-01-01T00:00:00.000Z");
    const handle = await tasks.trigger(
      "nap",
      { at, list: [1, null] },
      { tags: ["user:1"], ttl: "1h", priority: 3, metadata: { step: 1 }, maxDuration: 60 },
    );
    expect(handle.id).toMatch(/^run_/);
    expect(handle.publicAccessToken.split(".")).toHaveLength(3);
    const started = await dequeueAndStart(platform);
    expect((await runs.retrieve(handle.id)).status).toBe("EXECUTING");
    await completeOk(platform, started, '{"json":{"done":true}}');
    const run = await runs.poll(handle, { pollIntervalMs: 50 });
    expect(run).toMatchObject({
      id: handle.id,
      status: "COMPLETED",
      isSuccess: true,
      output: { done: true },
      payload: { at: at.toISOString(), list: [1, null] },
      tags: ["user:1"],
      ttl: "1h",
      metadata: { step: 1 },
      taskIdentifier: "nap",
    });
    // The SDK signed a token by itself, from the claims of the answer.
    const seen = await auth.withAuth({ accessToken: handle.publicAccessToken, baseURL: platform.url }, () => runs.retrieve(handle.id));
    expect(seen).toMatchObject({ id: handle.id });
  });

  it("triggers once for one idempotency key", async () => {
    const idempotencyKey = await idempotencyKeys.create("once");
    const [one, two] = [await tasks.trigger("nap", 1, { idempotencyKey }), await tasks.trigger("nap", 2, { idempotencyKey })];
    expect(two.id).toBe(one.id);
    await idempotencyKeys.reset("nap", idempotencyKey);
    expect((await tasks.trigger("nap", 3, { idempotencyKey })).id).not.toBe(one.id);
  });

  it("tells users why a trigger was refused, in an error of the right class", async () => {
    await expect(tasks.trigger("nap", 1, { delay: "soonish" })).rejects.toMatchObject({
      name: "TriggerApiError",
      status: 422,
      message: expect.stringContaining("options.delay"),
    });
    await expect(runs.cancel("run_nowhere")).rejects.toMatchObject({ status: 404, message: expect.stringContaining("run_nowhere") });
  });

  it("cancels, reschedules, replays and tags runs", async () => {
    const delayed = await tasks.trigger("nap", 1, { delay: "1h" });
    expect(await runs.reschedule(delayed.id, { delay: "2h" })).toMatchObject({ status: "DELAYED" });
    expect(await runs.cancel(delayed.id)).toEqual({ id: delayed.id });
    expect(await runs.retrieve(delayed.id)).toMatchObject({ status: "CANCELED" });
    const replayed = await runs.replay(delayed.id);
    expect(await runs.retrieve(replayed.id)).toMatchObject({ taskIdentifier: "nap", payload: 1 });
  });

  it("lists runs page by page, to the end", async () => {
    const ids: string[] = [];
    for (let count = 0; count < 5; count++) ids.push((await tasks.trigger("nap", count, { tags: ["listed"] })).id);
    const listed: string[] = [];
    for await (const run of runs.list({ tag: "listed", limit: 2, period: "1d" })) listed.push(run.id);
    expect(listed).toEqual(ids.toReversed());
  });

  it("triggers batches in two phases and reads them", async () => {
    const { batchId, runCount, publicAccessToken } = await batch.trigger([
      { id: "nap", payload: { n: 1 } },
      { id: "nap", payload: { n: 2 }, options: { tags: ["second"] } },
    ]);
    expect(runCount).toBe(2);
    const made = await batch.retrieve(batchId);
    expect(made).toMatchObject({ id: batchId, runCount: 2 });
    expect(await runs.retrieve(made.runs[1] ?? "")).toMatchObject({ payload: { n: 2 }, tags: ["second"], batchId });
    expect(await auth.withAuth({ accessToken: publicAccessToken, baseURL: platform.url }, () => batch.retrieve(batchId))).toMatchObject({
      id: batchId,
    });
  });

  it("triggers many runs of one task", async () => {
    const items = Array.from({ length: 50 }, (_, n) => ({ payload: { n } }));
    const { batchId } = await tasks.batchTrigger("nap", items);
    expect((await batch.retrieve(batchId)).runs).toHaveLength(50);
  });

  it("makes, lists, completes and reads tokens", async () => {
    const token = await wait.createToken({ timeout: "10m", tags: ["approval"] });
    expect(token).toMatchObject({ id: expect.stringMatching(/^waitpoint_/), isCached: false, url: expect.stringContaining(token.id) });
    expect(await wait.retrieveToken(token.id)).toMatchObject({ status: "WAITING", tags: ["approval"] });
    const listed: string[] = [];
    for await (const one of wait.listTokens({ tags: ["approval"] })) listed.push(one.id);
    expect(listed).toEqual([token.id]);
    expect(
      await auth.withAuth({ accessToken: token.publicAccessToken, baseURL: platform.url }, () =>
        wait.completeToken(token, { approved: true }),
      ),
    ).toEqual({ success: true });
    expect(await wait.retrieveToken(token.id)).toMatchObject({ status: "COMPLETED", output: { approved: true } });
    const response = await fetch((await wait.createToken({})).url, { method: "POST", body: '{"by":"webhook"}' });
    expect(response.status).toBe(200);
  });

  it("pauses, resumes and limits queues", async () => {
    const names: string[] = [];
    for await (const queue of await queues.list()) names.push(queue.name);
    expect(names).toEqual(expect.arrayContaining(["nap", "shared"]));
    expect(await queues.pause({ type: "custom", name: "shared" })).toMatchObject({ paused: true });
    expect(await queues.resume({ type: "custom", name: "shared" })).toMatchObject({ paused: false });
    expect(await queues.overrideConcurrencyLimit({ type: "custom", name: "shared" }, 7)).toMatchObject({ concurrencyLimit: 7 });
    expect(await queues.resetConcurrencyLimit({ type: "custom", name: "shared" })).toMatchObject({ concurrencyLimit: 3 });
    expect(await queues.retrieve({ type: "task", name: "group/other task" }).catch((error: unknown) => error)).toMatchObject({
      status: 404,
    });
  });

  it("makes public tokens, and tokens that are good for one trigger", async () => {
    const run = await tasks.trigger("nap", 1);
    const token = await auth.createPublicToken({ scopes: { read: { runs: [run.id] } } });
    expect(await auth.withAuth({ accessToken: token, baseURL: platform.url }, () => runs.retrieve(run.id))).toMatchObject({ id: run.id });
    const once = await auth.createTriggerPublicToken("nap");
    const use = () => auth.withAuth({ accessToken: once, baseURL: platform.url }, () => tasks.trigger("nap", 2));
    expect((await use()).id).toMatch(/^run_/);
    await expect(use()).rejects.toMatchObject({ status: 401 });
  });

  it("keeps environment variables", async () => {
    expect(await envvars.upload(platform.projectRef, "prod", { variables: { A: "1" }, override: true })).toEqual({ success: true });
    expect(await envvars.retrieve(platform.projectRef, "prod", "A")).toMatchObject({ value: "1" });
    expect(await envvars.list(platform.projectRef, "prod")).toEqual([{ name: "A", value: "1", isSecret: false }]);
    expect(await envvars.del(platform.projectRef, "prod", "A")).toEqual({ success: true });
  });

  it("knows the current deployment", async () => {
    expect(await sdkDeployments.retrieveCurrent()).toMatchObject({ status: "DEPLOYED" });
  });

  it("sends a payload that is too large for a request apart, and the task gets its key", async () => {
    const { data } = ok(
      await platform.sdk.call((await import("@torpor/contracts")).sdkRuns.list, {
        query: { "page[size]": 100, "filter[status]": "QUEUED" },
      }),
    );
    for (const { id } of data) await runs.cancel(id);
    const large = { text: "x".repeat(300_000) };
    const handle = await tasks.trigger("nap", large);
    const { start } = await dequeueAndStart(platform);
    expect(start.execution.run).toMatchObject({ id: handle.id, payloadType: "application/store" });
    const run = await runs.retrieve(handle.id);
    expect(run.payload).toEqual(large);
    ok(
      await platform.worker.call(workerActions.runHeartbeat, {
        params: { runId: handle.id, snapshotId: start.snapshot.friendlyId },
        body: {},
      }),
    );
  });
});
