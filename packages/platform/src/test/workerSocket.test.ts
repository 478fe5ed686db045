import { WORKER_SOCKET, sdkRuns, sdkWaits } from "@torpor/contracts";
import { io, type Socket } from "socket.io-client";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { deployNap, eventually, ok, runWaitingForToken, startTestPlatform, workerHeaders, type TestPlatform } from "./harness.ts";

let platform: TestPlatform;

beforeAll(async () => {
  platform = await startTestPlatform();
  await deployNap(platform);
});
afterAll(() => platform.close());

describe("the socket of a node", () => {
  it("is refused with a wrong secret", async () => {
    const socket = connect({ ...workerHeaders(), "x-trigger-worker-managed-secret": "wrong" });
    try {
      const error = await new Promise<Error>((resolve) => socket.once("connect_error", resolve));
      expect(error.message).toContain("Cannot authenticate");
      expect(socket.connected).toBe(false);
    } finally {
      socket.disconnect();
    }
  });

  it("hears of the runs that it watches, whichever process changed them, and of no others", async () => {
    const other = await startTestPlatform({ databaseUrl: platform.databaseUrl });
    const socket = connect(workerHeaders(), other.url);
    const heard: string[] = [];
    socket.on(WORKER_SOCKET.notify, (message: { version: string; run: { friendlyId: string } }) =>
      heard.push(`${message.version} ${message.run.friendlyId}`),
    );
    try {
      await new Promise<void>((resolve) => socket.once("connect", resolve));
      const [watched, unwatched] = [await runWaitingForToken(platform), await runWaitingForToken(platform)];
      socket.emit(WORKER_SOCKET.subscribe, { version: "1", runFriendlyIds: [watched.started.runId] });
      socket.emit(WORKER_SOCKET.subscribe, { version: "1", runFriendlyIds: "not a list" });
      await roundTrip(socket);
      for (const { tokenId } of [unwatched, watched])
        ok(await platform.sdk.call(sdkWaits.completeToken, { params: { tokenId }, body: {} }));
      await eventually("a notification", async () => (heard.includes(`1 ${watched.started.runId}`) ? true : undefined));
      expect(heard).not.toContain(`1 ${unwatched.started.runId}`);
    } finally {
      socket.disconnect();
      await other.close();
    }
  });

  it("hears nothing more of a run that it has unsubscribed from", async () => {
    const socket = connect(workerHeaders());
    const heard: string[] = [];
    socket.on(WORKER_SOCKET.notify, (message: { run: { friendlyId: string } }) => heard.push(message.run.friendlyId));
    try {
      await new Promise<void>((resolve) => socket.once("connect", resolve));
      const [left, kept] = [await runWaitingForToken(platform), await runWaitingForToken(platform)];
      socket.emit(WORKER_SOCKET.subscribe, { version: "1", runFriendlyIds: [left.started.runId, kept.started.runId] });
      socket.emit(WORKER_SOCKET.unsubscribe, { version: "1", runFriendlyIds: [left.started.runId] });
      await roundTrip(socket);
      for (const { tokenId } of [left, kept]) ok(await platform.sdk.call(sdkWaits.completeToken, { params: { tokenId }, body: {} }));
      await eventually("a notification", async () => (heard.includes(kept.started.runId) ? true : undefined));
      expect(heard).not.toContain(left.started.runId);
    } finally {
      socket.disconnect();
    }
  });

  function connect(headers: Record<string, string>, url = platform.url): Socket {
    return io(`${url}${WORKER_SOCKET.namespace}`, { transports: ["websocket"], extraHeaders: headers, reconnection: false });
  }

  /** The messages of a socket are handled in order: once a later one of the same connection has an effect, the earlier have theirs. */
  async function roundTrip(socket: Socket): Promise<void> {
    const probe = await runWaitingForToken(platform);
    const heard = new Promise<void>((resolve) => {
      const onNotify = (message: { run: { friendlyId: string } }): void => {
        if (message.run.friendlyId !== probe.started.runId) return;
        socket.off(WORKER_SOCKET.notify, onNotify);
        resolve();
      };
      socket.on(WORKER_SOCKET.notify, onNotify);
    });
    socket.emit(WORKER_SOCKET.subscribe, { version: "1", runFriendlyIds: [probe.started.runId] });
    await eventually("the subscription", async () => {
      ok(await platform.sdk.call(sdkRuns.cancel, { params: { runId: probe.started.runId } }));
      return Promise.race([heard.then(() => true as const), new Promise<undefined>((resolve) => setTimeout(() => resolve(undefined), 50))]);
    });
  }
});
