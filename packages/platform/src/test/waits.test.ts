import { sdkAuth, sdkWaits } from "@torpor/contracts";
import { connect } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { deployNap, dequeueAndStart, ok, startTestPlatform, trigger, type TestPlatform } from "./harness.ts";

let platform: TestPlatform;

beforeAll(async () => {
  platform = await startTestPlatform({ env: { TORPOR_API_ORIGIN: "https://torpor.example" } });
  await deployNap(platform);
});
afterAll(() => platform.close());

async function token(): Promise<{ id: string; url: string; callbackPath: string }> {
  const { id, url } = ok(await platform.sdk.call(sdkWaits.createToken, { body: { timeout: "1h" } }));
  return { id, url, callbackPath: url.replace("https://torpor.example", "") };
}

const statusOf = async (tokenId: string) => ok(await platform.sdk.call(sdkWaits.getToken, { params: { tokenId } }));

describe("tokens over HTTP", () => {
  it.each(["GET /api/v1/waitpoints/tokens/ID", "POST /api/v1/waitpoints/tokens/ID/complete"])(
    "answers 404 to %s for a token that is not there, and names it",
    async (route) => {
      const [method = "", path = ""] = route.replace("ID", "waitpoint_nowhere").split(" ");
      expect(await platform.request(method, path, method === "POST" ? { body: {} } : {})).toMatchObject({
        status: 404,
        json: { error: expect.stringContaining("waitpoint_nowhere") },
      });
    },
  );

  it("refuses to let a run wait for a token that is not there", async () => {
    await trigger(platform);
    const { runId } = await dequeueAndStart(platform);
    expect(await platform.request("POST", `/engine/v1/runs/${runId}/waitpoints/tokens/waitpoint_nowhere/wait`)).toMatchObject({
      status: 404,
      json: { error: expect.stringContaining("waitpoint_nowhere") },
    });
  });

  it.each([
    [{ timeout: "later" }, "timeout"],
    [{ tags: Array.from({ length: 11 }, (_, at) => `t${at}`) }, "tags"],
    [{ idempotencyKey: "k", idempotencyKeyTTL: "x" }, "idempotencyKeyTTL"],
  ])("answers 422 to %j and names the field", async (body, param) => {
    expect(await platform.request("POST", "/api/v1/waitpoints/tokens", { body })).toMatchObject({ status: 422, json: { param } });
  });

  it("completes once; a second time succeeds and changes nothing", async () => {
    const { id } = await token();
    ok(await platform.sdk.call(sdkWaits.completeToken, { params: { tokenId: id }, body: { data: { first: true } } }));
    ok(await platform.sdk.call(sdkWaits.completeToken, { params: { tokenId: id }, body: { data: { first: false } } }));
    expect(await statusOf(id)).toMatchObject({
      status: "COMPLETED",
      output: '{"json":{"first":true}}',
      outputType: "application/super+json",
      outputIsError: false,
    });
  });

  it("gives the same token for the same idempotency key", async () => {
    const one = ok(await platform.sdk.call(sdkWaits.createToken, { body: { idempotencyKey: "same" } }));
    expect(ok(await platform.sdk.call(sdkWaits.createToken, { body: { idempotencyKey: "same" } }))).toMatchObject({
      id: one.id,
      isCached: true,
    });
  });

  it("lets a public token complete its token and no other", async () => {
    const [mine, other] = [await token(), await token()];
    const { token: key } = ok(await platform.sdk.call(sdkAuth.createPublicToken, { body: { scopes: [`write:waitpoints:${mine.id}`] } }));
    expect((await platform.request("POST", `/api/v1/waitpoints/tokens/${other.id}/complete`, { body: {}, key })).status).toBe(403);
    const reply = await platform.request("POST", `/api/v1/waitpoints/tokens/${mine.id}/complete`, { body: {}, key });
    expect(reply.status).toBe(200);
    expect(reply.headers.get("access-control-allow-origin")).toBe("*");
  });

  it("lists tokens by status and tag", async () => {
    const { id } = ok(await platform.sdk.call(sdkWaits.createToken, { body: { tags: ["listed"] } }));
    expect(
      ok(
        await platform.sdk.call(sdkWaits.listTokens, {
          query: { "page[size]": 10, "filter[tags]": "listed", "filter[status]": "WAITING" },
        }),
      ).data,
    ).toMatchObject([{ id, status: "WAITING", tags: ["listed"] }]);
    expect((await platform.request("GET", "/api/v1/waitpoints/tokens?filter[status]=ASLEEP")).status).toBe(400);
  });
});

describe("the callback address of a token", () => {
  it("takes any JSON as the output, from anybody who has the address", async () => {
    const { id, callbackPath } = await token();
    expect((await platform.request("POST", callbackPath, { body: { paid: 5 }, key: null })).status).toBe(200);
    expect(await statusOf(id)).toMatchObject({ status: "COMPLETED", output: '{"json":{"paid":5}}' });
  });

  it("takes what is not JSON as an empty object", async () => {
    const { id, callbackPath } = await token();
    expect((await platform.request("POST", callbackPath, { body: "paid=5", key: null })).status).toBe(200);
    expect(await statusOf(id)).toMatchObject({ output: '{"json":{}}' });
  });

  it("refuses the address of another token, and of another environment", async () => {
    const [mine, other] = [await token(), await token()];
    const forged = other.callbackPath.replace(other.id, mine.id);
    expect(await platform.request("POST", forged, { body: {}, key: null })).toMatchObject({
      status: 401,
      json: { code: "unauthenticated" },
    });
    expect(
      (await platform.request("POST", mine.callbackPath.replace(/environment=.*/, "environment=nowhere"), { body: {}, key: null })).status,
    ).toBe(401);
    expect((await statusOf(mine.id)).status).toBe("WAITING");
  });

  it("refuses a body whose length is not said, and one that is too large", async () => {
    const { callbackPath } = await token();
    expect(
      await rawRequest(
        `POST ${callbackPath} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n2\r\n{}\r\n0\r\n\r\n`,
      ),
    ).toContain("411");
    expect((await platform.request("POST", callbackPath, { body: JSON.stringify("x".repeat(600_000)), key: null })).status).toBe(413);
  });

  function rawRequest(text: string): Promise<string> {
    return new Promise((resolve, reject) => {
      const { hostname, port } = new URL(platform.url);
      let answer = "";
      const socket = connect(Number(port), hostname, () => socket.write(text));
      socket.on("data", (chunk) => (answer += chunk.toString()));
      socket.on("close", () => resolve(answer));
      socket.on("error", reject);
    });
  }
});

describe("waiting for a time", () => {
  it("says until when, and refuses what is no date", async () => {
    await trigger(platform);
    const { runId } = await dequeueAndStart(platform);
    const date = new Date(Date.now() + 3_600_000);
    const wait = ok(await platform.sdk.call(sdkWaits.waitUntil, { params: { runId }, body: { date } }));
    expect(wait).toEqual({ waitUntil: date, waitpoint: { id: expect.stringMatching(/^waitpoint_/) } });
    expect(await platform.request("POST", `/engine/v1/runs/${runId}/wait/duration`, { body: { date: "soon" } })).toMatchObject({
      status: 400,
      json: { param: "date" },
    });
    expect((await platform.request("POST", "/engine/v1/runs/run_nowhere/wait/duration", { body: { date } })).status).toBe(404);
  });
});
