import { connect } from "node:net";
import { route, TorporError } from "@torpor/contracts";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { z } from "zod";
import { RouteClient } from "./client.ts";
import { mounter } from "./mount.ts";
import { startServer, type RunningServer } from "./server.ts";

interface TestCallers {
  readonly worker: { readonly name: string };
}

const echo = route("POST", "/things/:thingId", {
  auth: "worker",
  params: z.object({ thingId: z.string() }),
  query: z.object({ loud: z.string().optional() }),
  body: z.object({ count: z.number().int(), nested: z.object({ names: z.array(z.string()) }).optional() }),
  reply: z.object({ who: z.string(), thing: z.string(), count: z.number() }),
  status: 201,
  bodyLimitBytes: 1024,
});
const fail = route("GET", "/fail/:how", { auth: "none", params: z.object({ how: z.string() }), reply: z.object({}) });

const mount = mounter<TestCallers>();
const logged: string[] = [];
const routes = [
  mount(echo, async ({ params, body, caller }) => ({ who: caller.name, thing: params.thingId, count: body.count })),
  mount(fail, async ({ params }) => {
    if (params.how === "stale") throw new TorporError("snapshot_stale", "Cannot start: snapshot is not the latest");
    throw new Error("the database password is hunter2");
  }),
];

let server: RunningServer;
let client: RouteClient;

beforeEach(async () => {
  server = await startServer<TestCallers>({
    routes,
    authenticators: {
      worker: async ({ headers }) => {
        if (headers.authorization !== "Bearer good") throw new TorporError("unauthenticated", "Cannot authenticate: unknown token");
        return { name: "node-1" };
      },
    },
    listen: { host: "127.0.0.1", port: 0 },
    log: { error: (_fields, message) => void logged.push(message) },
    requestTimeoutMs: 3_000,
  });
  client = new RouteClient({ baseUrl: server.url, timeoutMs: 5_000, headers: () => ({ authorization: "Bearer good" }) });
});

afterEach(async () => {
  await client.close();
  await server.close();
});

async function post(
  body: string,
  headers: Record<string, string> = {},
): Promise<{ status: number; json: Record<string, unknown>; headers: Headers }> {
  const response = await fetch(`${server.url}/things/t1`, { method: "POST", body, headers: { authorization: "Bearer good", ...headers } });
  return { status: response.status, json: (await response.json()) as Record<string, unknown>, headers: response.headers };
}

describe("serving declared routes", () => {
  it("answers 400 to a body that is not JSON, and says where it breaks", async () => {
    const answer = await post('{"count": ');
    expect(answer.status).toBe(400);
    expect(answer.json).toMatchObject({ code: "body_malformed", param: "body" });
  });

  it("names the field, deep inside, that has the wrong type", async () => {
    const answer = await post(JSON.stringify({ count: 1, nested: { names: ["a", 7] } }));
    expect(answer.status).toBe(400);
    expect(answer.json).toMatchObject({ code: "request_invalid", param: "nested.names[1]" });
  });

  it("answers 413 to a body over the route's limit", async () => {
    expect((await post(JSON.stringify({ count: 1, pad: "x".repeat(2000) }))).status).toBe(413);
  });

  it("reads JSON that is labelled as plain text, as runners send it", async () => {
    const answer = await post(JSON.stringify({ count: 3 }), { "content-type": "text/plain;charset=UTF-8" });
    expect(answer).toMatchObject({ status: 201, json: { who: "node-1", thing: "t1", count: 3 } });
  });

  it("answers 401 without a valid credential, before it looks at the body", async () => {
    const response = await fetch(`${server.url}/things/t1`, {
      method: "POST",
      body: JSON.stringify({ count: 1 }),
      headers: { authorization: "Bearer bad" },
    });
    expect(response.status).toBe(401);
  });

  it("tells clients not to repeat a refusal that will stay one", async () => {
    const outcome = await client.call(fail, { params: { how: "stale" } });
    expect(outcome).toEqual({
      kind: "refused",
      status: 409,
      code: "snapshot_stale",
      message: "Cannot start: snapshot is not the latest",
      mayRetry: false,
    });
  });

  it("keeps the text of an unforeseen error inside and puts it into the log", async () => {
    const outcome = await client.call(fail, { params: { how: "crash" } });
    expect(outcome).toMatchObject({ kind: "refused", status: 500, code: "internal", mayRetry: true });
    expect(JSON.stringify(outcome)).not.toContain("hunter2");
    expect(logged).toContain("a request failed unforeseen");
  });

  it("cuts off a body that never ends", async () => {
    const closed = new Promise<string>((resolve, reject) => {
      const socket = connect(server.port, "127.0.0.1", () => {
        socket.write("POST /things/t1 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer good\r\ncontent-length: 1000\r\n\r\n{");
      });
      let text = "";
      socket.on("data", (chunk) => (text += chunk.toString()));
      socket.on("close", () => resolve(text));
      socket.on("error", reject);
    });
    expect(await closed).toContain("408");
  });

  it("closes although the other side of an upgraded connection has vanished without a word", async () => {
    server.node.on(
      "upgrade",
      (_request, socket) => void socket.write("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: test\r\n\r\n"),
    );
    const vanished = connect({ port: server.port, host: "127.0.0.1", allowHalfOpen: true });
    vanished.write("GET / HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\nupgrade: test\r\n\r\n");
    await new Promise((resolve) => vanished.once("data", resolve));
    await expect(server.close()).resolves.toBeUndefined();
    vanished.destroy();
  });

  it("answers 404 to an unknown route and names it", async () => {
    const response = await fetch(`${server.url}/nothing/here?token=secret`);
    expect(response.status).toBe(404);
    expect(await response.json()).toMatchObject({ code: "not_found", error: "Cannot find GET /nothing/here: no such route" });
  });
});

describe("calling declared routes", () => {
  it("says that a call certainly did not happen when nobody listens", async () => {
    const url = server.url;
    await server.close();
    const nobody = new RouteClient({ baseUrl: url, timeoutMs: 1_000 });
    expect(await nobody.call(fail, { params: { how: "x" } })).toMatchObject({ kind: "unreachable", happened: "no" });
    await nobody.close();
  });

  it("returns the typed answer of a success", async () => {
    const outcome = await client.call(echo, { params: { thingId: "a/b" }, body: { count: 2 } });
    expect(outcome).toEqual({ kind: "ok", status: 201, body: { who: "node-1", thing: "a/b", count: 2 } });
  });
});
