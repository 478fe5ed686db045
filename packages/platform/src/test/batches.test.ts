import { sdkBatches, sdkRuns } from "@torpor/contracts";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { completeOk, deployNap, dequeueAndStart, eventually, ok, startTestPlatform, type Reply, type TestPlatform } from "./harness.ts";

let platform: TestPlatform;

beforeAll(async () => {
  platform = await startTestPlatform({
    env: { TORPOR_MAX_PAYLOAD_BYTES: "2000", TORPOR_MAX_BATCH_SIZE: "20", TORPOR_MAX_BATCH_BYTES: "1000000" },
  });
  await deployNap(platform);
});
afterAll(() => platform.close());

async function create(runCount: number): Promise<string> {
  return ok(await platform.sdk.call(sdkBatches.create, { body: { runCount } })).id;
}

function send(batchId: string, lines: string): Promise<Reply> {
  return platform.request("POST", `/api/v3/batches/${batchId}/items`, { body: lines, headers: { "content-type": "application/x-ndjson" } });
}

const line = (index: number, more: Record<string, unknown> = {}): string =>
  `${JSON.stringify({ index, task: "nap", payload: `{"json":${index}}`, options: { payloadType: "application/super+json" }, ...more })}\n`;

describe("batches in two phases", () => {
  it("refuses items for a batch that is not there", async () => {
    expect(await send("batch_nowhere", line(0))).toMatchObject({ status: 404, json: { error: expect.stringContaining("batch_nowhere") } });
  });

  it("refuses a count that is none, or too large", async () => {
    expect(await platform.request("POST", "/api/v3/batches", { body: { runCount: 0 } })).toMatchObject({
      status: 400,
      json: { param: "runCount" },
    });
    expect(await platform.request("POST", "/api/v3/batches", { body: { runCount: 21 } })).toMatchObject({
      status: 422,
      json: { param: "runCount" },
    });
  });

  it("names the line and the field of an item that is none", async () => {
    const id = await create(2);
    expect(await send(id, `${line(0)}{broken\n`)).toMatchObject({ status: 400, json: { code: "body_malformed", param: "line 2" } });
    expect(await send(id, `\n\n${JSON.stringify({ index: "one", task: "nap" })}`)).toMatchObject({
      status: 400,
      json: { param: "line 3: index" },
    });
  });

  it("seals once all have arrived, and takes an item that is sent again once", async () => {
    const id = await create(3);
    expect(await send(id, line(0))).toMatchObject({
      status: 200,
      json: { id, itemsAccepted: 1, itemsDeduplicated: 0, sealed: false, enqueuedCount: 1, expectedCount: 3 },
    });
    expect(await send(id, `${line(0)}\n${line(1)}\n\n${line(2).trim()}`)).toMatchObject({
      status: 200,
      json: { itemsAccepted: 2, itemsDeduplicated: 1, sealed: true },
    });
    expect(await send(id, line(0) + line(1) + line(2))).toMatchObject({ status: 200, json: { itemsAccepted: 0, sealed: true } });
    const batch = ok(await platform.sdk.call(sdkBatches.retrieve, { params: { batchId: id } }));
    expect(batch).toMatchObject({ id, runCount: 3, processing: { errors: [] } });
    expect(batch.runs).toHaveLength(3);
  });

  it("makes one batch of a request that is repeated, and tells the client to send its items until they are there", async () => {
    const headers = { "x-trigger-request-idempotency-key": "batch-request" };
    const announce = () => platform.request("POST", "/api/v3/batches", { body: { runCount: 1 }, headers });
    const [first, repeated] = [await announce(), await announce()];
    expect(repeated.json).toEqual(first.json);
    expect(repeated.json["isCached"]).toBe(false);
    expect((await send(String(first.json["id"]), line(0))).json).toMatchObject({ sealed: true });
    const body = { runCount: 1, idempotencyKey: "mine" };
    const mine = await platform.request("POST", "/api/v3/batches", { body });
    expect((await platform.request("POST", "/api/v3/batches", { body })).json).toMatchObject({ id: mine.json["id"], isCached: false });
    await send(String(mine.json["id"]), line(0));
    expect((await platform.request("POST", "/api/v3/batches", { body })).json).toMatchObject({
      id: mine.json["id"],
      isCached: true,
      idempotencyKey: "mine",
    });
  });

  it("lets only the item fail that is too large", async () => {
    const id = await create(3);
    const large = `{"payload":"${"x".repeat(80_000)}","options":{"payloadType":"text/plain"},"task":"nap","index":1}\n`;
    const tooMuchPayload = line(2, { payload: "y".repeat(3000), options: { payloadType: "text/plain" } });
    expect(await send(id, line(0) + large + tooMuchPayload)).toMatchObject({ status: 200, json: { itemsAccepted: 3, sealed: true } });
    const batch = ok(await platform.sdk.call(sdkBatches.retrieve, { params: { batchId: id } }));
    expect(batch.processing.errors.map(({ index }) => index)).toEqual([1, 2]);
    const statuses = await Promise.all(
      batch.runs.map(async (runId) => ok(await platform.sdk.call(sdkRuns.retrieve, { params: { runId } })).status),
    );
    expect(statuses.toSorted()).toEqual(["QUEUED", "SYSTEM_FAILURE", "SYSTEM_FAILURE"]);
  });

  it("refuses a stream that is larger than a batch may be", async () => {
    const id = await create(20);
    expect((await send(id, line(0, { payload: "x".repeat(1_100_000) }))).status).toBe(413);
  });
});

describe("batches in one request", () => {
  it("makes all runs, and gives their results in the order of the items", async () => {
    const fresh = await startTestPlatform();
    try {
      await deployNap(fresh);
      const items = [0, 1].map((n) => ({ task: "nap", payload: `{"json":${n}}`, options: { payloadType: "application/super+json" } }));
      const { id, runCount } = ok(await fresh.sdk.call(sdkBatches.triggerAll, { body: { items } }));
      expect(runCount).toBe(2);
      const started = [await dequeueAndStart(fresh), await dequeueAndStart(fresh)];
      expect(ok(await fresh.sdk.call(sdkBatches.results, { params: { batchId: id } })).items).toEqual([]);
      for (const one of started.toReversed()) await completeOk(fresh, one, JSON.stringify({ json: one.start.execution.run.payload }));
      const { items: results } = ok(await fresh.sdk.call(sdkBatches.results, { params: { batchId: id } }));
      expect(results).toMatchObject([
        { ok: true, output: '{"json":"{\\"json\\":0}"}' },
        { ok: true, output: '{"json":"{\\"json\\":1}"}' },
      ]);
      await eventually("the batch to end", async () =>
        ok(await fresh.sdk.call(sdkBatches.retrieveV1, { params: { batchId: id } })).status === "COMPLETED" ? true : undefined,
      );
    } finally {
      await fresh.close();
    }
  });

  it("names the item whose field is wrong", async () => {
    expect(await platform.request("POST", "/api/v2/tasks/batch", { body: { items: [{ task: "nap" }, { task: "" }] } })).toMatchObject({
      status: 400,
      json: { param: "items[1].task" },
    });
  });

  it("answers 404 to an unknown batch", async () => {
    expect(await platform.request("GET", "/api/v2/batches/batch_nowhere")).toMatchObject({
      status: 404,
      json: { error: expect.stringContaining("batch_nowhere") },
    });
  });
});
