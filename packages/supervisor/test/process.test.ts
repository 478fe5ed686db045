// The supervisor as its operator sees it: ports, sockets, signals, exit codes.
import { spawn } from "node:child_process";
import { join } from "node:path";
import { WORKLOAD_HEADERS } from "@torpor/contracts";
import { afterEach, describe, expect, it } from "vitest";
import { io, type Socket } from "socket.io-client";
import { ENV } from "./node.ts";
import { startWire, until, type Wire } from "./wire.ts";

let wire: Wire;
const opened: Socket[] = [];

afterEach(async () => {
  for (const socket of opened.splice(0)) socket.disconnect();
  await wire?.close();
});

/** A runner's socket; `notified` are the runs that it was told of. */
function runnerSocket(runnerId: string | undefined): { readonly socket: Socket; readonly notified: string[] } {
  const headers: Record<string, string> = {
    [WORKLOAD_HEADERS.deploymentId]: "deployment_1",
    ...(runnerId === undefined ? {} : { [WORKLOAD_HEADERS.runnerId]: runnerId }),
  };
  const socket = io(`${wire.supervisor.workloadUrl}/workload`, {
    transports: ["websocket"],
    extraHeaders: headers,
    forceNew: true,
    reconnection: false,
  });
  const notified: string[] = [];
  socket.on("run:notify", (message: { run: { friendlyId: string } }) => void notified.push(message.run.friendlyId));
  opened.push(socket);
  return { socket, notified };
}

async function post(path: string, runnerId: string, body = "{}"): Promise<{ status: number; connection: string | null }> {
  const answer = await fetch(`${wire.supervisor.workloadUrl}${path}`, {
    method: "POST",
    body,
    headers: {
      "content-type": "text/plain;charset=UTF-8",
      [WORKLOAD_HEADERS.runnerId]: runnerId,
      [WORKLOAD_HEADERS.deploymentVersion]: "1",
      [WORKLOAD_HEADERS.projectRef]: "p",
    },
  });
  await answer.text();
  return { status: answer.status, connection: answer.headers.get("connection") };
}

async function executing(): Promise<{ runId: string; name: string }> {
  const before = new Set(wire.gateway.names());
  const runId = wire.platform.trigger();
  await until("a sandbox is made", () => wire.gateway.names().some((name) => !before.has(name)));
  const name = wire.gateway.names().find((one) => !before.has(one)) ?? "";
  const path = `/api/v1/workload-actions/runs/${runId}/snapshots/${wire.platform.latest(runId).snapshot.friendlyId}/attempts/start`;
  expect((await post(path, name)).status).toBe(200);
  return { runId, name };
}

describe("runners' sockets", () => {
  it("a socket that came back without a word is told of its run; the stale one's end unbinds nothing", async () => {
    wire = await startWire();
    const { runId, name } = await executing();
    const first = runnerSocket(name);
    await until("the first socket is there", () => first.socket.connected);
    const second = runnerSocket(name);
    await until("the newer socket is told to look, because something may have been missed", () => second.notified.includes(runId));
    await until("the older one is dropped", () => !first.socket.connected);
    second.notified.length = 0;
    wire.platform.block(runId);
    await until("the newer one is notified", () => second.notified.includes(runId));
  });

  it("run:start of a run that another live runner has binds nothing", async () => {
    wire = await startWire();
    const owner = await executing();
    const mine = runnerSocket(owner.name);
    const thief = runnerSocket("runner-thief");
    await until("both are there", () => mine.socket.connected && thief.socket.connected);
    thief.socket.emit("run:start", { version: "1", run: { friendlyId: owner.runId }, snapshot: { friendlyId: "snapshot_1" } });
    thief.socket.emit("run:stop", { version: "1", run: { friendlyId: owner.runId }, snapshot: { friendlyId: "snapshot_1" } });
    thief.socket.emit("run:start", "nonsense");
    await until("the thief's words are read", () => thief.socket.connected);
    wire.platform.block(owner.runId);
    await until("the owner is notified", () => mine.notified.includes(owner.runId));
    expect(thief.notified).toEqual([]);
  });

  it("a handshake without a runner's name is cut", async () => {
    wire = await startWire();
    const { socket } = runnerSocket(undefined);
    let wasCut = false;
    socket.on("disconnect", () => {
      wasCut = true;
    });
    await until("it is cut", () => wasCut);
  });

  it("a runner that stops without completing gives its attempt up at once", async () => {
    wire = await startWire();
    const { runId, name } = await executing();
    const { socket } = runnerSocket(name);
    await until("it is there", () => socket.connected);
    socket.emit("run:stop", { version: "1", run: { friendlyId: runId }, snapshot: { friendlyId: "snapshot_1" } });
    await until("the attempt has failed", () => wire.platform.run(runId).completions.length === 1);
  });
});

describe("the platform's socket", () => {
  it("is subscribed to again after the platform has cut it, and what was missed is looked up", async () => {
    wire = await startWire({ random: { unit: () => 0.01, bytes: (length) => new Uint8Array(length) } });
    const { runId, name } = await executing();
    const { socket, notified } = runnerSocket(name);
    await until("the run is subscribed to", () => socket.connected && wire.subscribed().includes(runId));
    wire.platformSockets.of("/worker").disconnectSockets(true);
    await until("it is gone", () => !wire.subscribed().includes(runId));
    await until("it is back", () => wire.subscribed().includes(runId), 5_000);
    await until("the runner was told to look", () => notified.includes(runId));
  });

  it("subscriptions end with the run", async () => {
    wire = await startWire();
    const { runId, name } = await executing();
    await until("the run is subscribed to", () => wire.subscribed().includes(runId));
    const path = `/api/v1/workload-actions/runs/${runId}/snapshots/${wire.platform.latest(runId).snapshot.friendlyId}/attempts/complete`;
    expect((await post(path, name, JSON.stringify({ completion: { ok: true, id: runId, outputType: "x" } }))).status).toBe(200);
    await until("nobody is subscribed", () => wire.subscribed().length === 0);
  });
});

describe("the workload server", () => {
  it("answers JSON of any label, and closes every connection", async () => {
    wire = await startWire();
    const { runId, name } = await executing();
    const answer = await post(
      `/api/v1/workload-actions/runs/${runId}/snapshots/${wire.platform.latest(runId).snapshot.friendlyId}/heartbeat`,
      name,
    );
    expect(answer).toEqual({ status: 200, connection: "close" });
    expect((await post(`/api/v1/workload-actions/runs/${runId}/snapshots/s/heartbeat`, name, "{")).status).toBe(400);
  });

  it("is healthy, and knows no other path", async () => {
    wire = await startWire();
    for (const path of ["/health", "/ready"]) {
      const answer = await fetch(`${wire.supervisor.workloadUrl}${path}`);
      expect([path, answer.status, await answer.text()]).toEqual([path, 200, "OK"]);
    }
    const other = await fetch(`${wire.supervisor.workloadUrl}/nothing`);
    expect([other.status, other.headers.get("x-should-retry")]).toEqual([404, "false"]);
  });

  it("refuses a callback that a sandbox makes up", async () => {
    wire = await startWire();
    expect((await post("/api/v1/compute/snapshot-complete", "runner-x", `{"status":"failed","instance_id":"x"}`)).status).toBe(401);
  });
});

interface Ended {
  readonly code: number | null;
  readonly output: string;
  readonly tookMs: number;
}

/** The supervisor as a process; `signal` is sent when it has said that it takes runs. */
async function run(
  env: Record<string, string>,
  options: { readonly signal?: NodeJS.Signals; readonly closeStdin?: boolean } = {},
): Promise<Ended> {
  const main = join(import.meta.dirname, "../src/main.ts");
  const child = spawn(process.execPath, [main], { env: { PATH: process.env["PATH"] ?? "", ...env }, stdio: ["pipe", "pipe", "pipe"] });
  let output = "";
  let askedAtMs = performance.now();
  child.stdin.on("error", () => {});
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk: Buffer) => {
      output += chunk.toString("utf8");
      if (!output.includes("taking runs") || child.killed) return;
      askedAtMs = performance.now();
      if (options.signal !== undefined) child.kill(options.signal);
      if (options.closeStdin === true) child.stdin.end();
    });
  }
  const timer = setTimeout(() => child.kill("SIGKILL"), 50_000);
  const code = await new Promise<number | null>((resolve) => void child.once("exit", resolve));
  clearTimeout(timer);
  return { code, output, tookMs: performance.now() - askedAtMs };
}

/** Everything that the process needs to find its neighbours. */
function envFor({ platformUrl, gatewayUrl }: Wire): Record<string, string> {
  return {
    ...ENV,
    TRIGGER_API_URL: platformUrl,
    OTEL_EXPORTER_OTLP_ENDPOINT: `${platformUrl}/otel`,
    COMPUTE_GATEWAY_URL: gatewayUrl,
    TRIGGER_WORKLOAD_API_PORT_INTERNAL: "0",
  };
}

describe("the process", () => {
  it("drains at SIGTERM and exits with 0 within its bound", async () => {
    wire = await startWire();
    const ended = await run({ ...envFor(wire), TORPOR_DRAIN_MS: "4000" }, { signal: "SIGTERM" });
    expect(ended.code).toBe(0);
    expect(ended.tookMs).toBeLessThan(6_000);
  });

  it("stops when its parent is gone", async () => {
    wire = await startWire();
    expect((await run({ ...envFor(wire), TORPOR_STOP_WITH_STDIN: "1", TORPOR_DRAIN_MS: "2000" }, { closeStdin: true })).code).toBe(0);
  });

  it("says what is missing and exits with 2", async () => {
    const ended = await run({});
    expect(ended.code).toBe(2);
    expect(ended.output).toContain("TRIGGER_API_URL is not set");
    expect(ended.output).not.toContain("at ");
  });
});
