// The whole gateway with real sandboxes, as a process that is killed at bad moments.
import { spawn, type ChildProcess } from "node:child_process";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { RunnerId, type MemoryImageId } from "@torpor/contracts";
import { RouteClient } from "@torpor/http";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { cleanUp } from "./cleanup.ts";
import { execOrThrow } from "./drivers/gvisor/exec.ts";
import { stagingDir } from "./graph.ts";
import { CallbackReceiver, contract, ok, TOKEN } from "./testing/fakeGateway.ts";
import { leftoversOf } from "./testing/leftovers.ts";
import { lastTick, makeRealHost, outputOf, RUNSC, TEST_RUN_DIR, tickAfter, until, whyNoGvisor, type RealHost } from "./testing/realHost.ts";

const missing = await whyNoGvisor();
const name = RunnerId.parse("runner-1");
const createBody = (program: string) => ({ name, image: program, env: { MEGABYTES: "64" }, cpu: 1, memory_gb: 0.5, metadata: {} });

describe.skipIf(missing !== undefined)(
  `a gateway with gVisor${missing === undefined ? "" : ` cannot run here: ${missing}`}`,
  { timeout: 90_000 },
  () => {
    let host: RealHost;
    let receiver: CallbackReceiver;
    let child: ChildProcess;
    let client: RouteClient;

    beforeEach(async () => {
      host = await makeRealHost();
      receiver = await new CallbackReceiver().listen();
    });

    /** Every test ends with an orderly end, after which nothing may be left on the machine. */
    afterEach(async () => {
      const ended = new Promise<number | null>((resolve) => child.once("exit", resolve));
      child.kill("SIGTERM");
      expect(await ended).toBe(0);
      expect(await leftoversOf(host.options.planeId)).toEqual([]);
      expect((await readdir(host.dir)).toSorted()).toEqual([]);
      await client.close();
      await receiver.close();
      await host.close();
    });

    async function start(more: Record<string, string> = {}): Promise<void> {
      const env = {
        PATH: process.env["PATH"],
        COMPUTE_GATEWAY_AUTH_TOKEN: TOKEN,
        TORPOR_STATE_DIR: host.dir,
        TORPOR_GATEWAY_PORT: "0",
        TORPOR_GATEWAY_PLANE: host.options.planeId,
        TORPOR_GATEWAY_ON_EXIT: "destroy",
        TORPOR_GATEWAY_SPARES: "0", // so that every sandbox that is found is one of a test
        TORPOR_RUNSC: RUNSC,
        TORPOR_LOG_LEVEL: "error",
        TEST_IMAGE: JSON.stringify(host.image),
        ...more,
      };
      child = spawn(process.execPath, [new URL("./testing/gatewayChild.ts", import.meta.url).pathname], {
        env,
        stdio: ["ignore", "pipe", "inherit"],
      });
      const url = await new Promise<string>((resolve, reject) => {
        child.once("exit", (code) => reject(new Error(`The gateway ended with ${code}`)));
        child.stdout?.on(
          "data",
          (text: Buffer) => /^listening (\S+)/.test(text.toString()) && resolve(text.toString().split(/\s/)[1] ?? ""),
        );
      });
      client = new RouteClient({ baseUrl: url, timeoutMs: 30_000, headers: () => ({ authorization: `Bearer ${TOKEN}` }) });
    }

    async function killAndStart(): Promise<void> {
      const ended = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGKILL");
      await ended;
      await client.close();
      await start();
      // Nothing in clear survives, and no key whose image is gone (L16)
      expect(await readdir(stagingDir({ runDir: TEST_RUN_DIR, planeId: host.options.planeId }))).toEqual([]);
      const images = (await memoryFolders()).map((folder) => `${folder.split(".")[0]}.key`);
      expect((await readdir(join(stateDir(), "keys"))).filter((file) => file.endsWith(".key")).toSorted()).toEqual(images);
    }

    const stateDir = () => join(host.dir, "gateway");
    const memoryFolders = async () => (await readdir(join(stateDir(), "memory"))).toSorted();
    const create = (program = "heavy") => client.call(contract.createInstance, { body: createBody(program) });
    const snapshot = (nonce = "") =>
      client.call(contract.snapshotInstance, {
        params: { name },
        body: { callback: { url: receiver.url, metadata: { nonce } }, extensions: ["hold"], hold_ms: 60_000 },
      });
    const commit = (snapshotId: MemoryImageId) => client.call(contract.commitSnapshot, { params: { snapshotId } });
    const restore = (snapshotId: MemoryImageId) =>
      client.call(contract.restoreSnapshot, {
        params: { snapshotId },
        body: { name: RunnerId.parse("runner-2"), metadata: { A: "1" }, cpu: 1, memory_gb: 0.5 },
      });
    const state = async () => ok(await client.call(contract.getInstance, { params: { name } })).state;

    async function stored(): Promise<MemoryImageId> {
      const accepted = ok(await snapshot("stored")); // what is told of an earlier, cancelled one may still be on its way
      expect(await receiver.about("stored")).toMatchObject({ status: "completed", held: true });
      ok(await commit(accepted!.snapshot_id));
      return accepted!.snapshot_id;
    }

    it("freezes, destroys and restores a task to the very line, with its memory and its files", async () => {
      await start();
      const first = ok(await create("ticks"));
      const before = await tickAfter(stateDir(), first.id, 3);
      const id = await stored();
      expect(ok(await client.call(contract.listInstances)).instances).toEqual([]);
      expect((await leftoversOf(host.options.planeId)).filter((one) => one.startsWith("process") && !one.includes(" wait "))).toEqual([]);
      const second = ok(await restore(id));
      await tickAfter(stateDir(), second.id, before);
      const output = await outputOf(stateDir(), second.id);
      expect(Number(/tick (\d+)/.exec(output)?.[1])).toBeGreaterThan(before - 1);
      expect(output).toContain("tmpapp");
      await expect.poll(memoryFolders).toEqual([]);
    });

    it("killed while a sandbox runs: the sandbox goes on, is taken over, and answers to its request", async () => {
      await start();
      const first = ok(await create());
      const before = await tickAfter(stateDir(), first.id, 1);
      await killAndStart();
      expect(await state()).toBe("running");
      await tickAfter(stateDir(), first.id, before);
      expect(ok(await create()).id).toBe(first.id);
      ok(await restore(await stored()));
    });

    it.each([0, 40, 120])(
      "killed %i ms after a snapshot was asked for: the sandbox goes on, and a new snapshot of it works",
      async (afterMs) => {
        await start();
        const first = ok(await create());
        await tickAfter(stateDir(), first.id, 1);
        ok(await snapshot());
        await delay(afterMs);
        await killAndStart();
        const found = await state();
        expect(["running", "held"]).toContain(found);
        if (found === "held") ok(await client.call(contract.cancelSnapshot, { params: { name } }));
        await tickAfter(stateDir(), first.id, lastTick(await outputOf(stateDir(), first.id)));
        await expect.poll(memoryFolders).toEqual([]);
        const id = await until(async () => ((await state()) === "running" ? await stored() : undefined), "a second snapshot");
        ok(await restore(id));
      },
    );

    it.each([20, 100, 180, 260])("killed %i ms after a restore was asked for: the same request runs it, once", async (afterMs) => {
      await start();
      const first = ok(await create());
      const before = await tickAfter(stateDir(), first.id, 1);
      const id = await stored();
      const lost = restore(id).catch(() => undefined);
      await delay(afterMs);
      await killAndStart();
      await lost;
      const second = ok(await restore(id));
      await tickAfter(stateDir(), second.id, before);
      expect(ok(await client.call(contract.listInstances)).instances).toHaveLength(1);
      await expect.poll(memoryFolders).toEqual([]);
    });

    it.each([40, 110])("killed %i ms after a create was asked for: the same request finds one sandbox", async (afterMs) => {
      await start();
      const lost = create().catch(() => undefined);
      await delay(afterMs);
      await killAndStart();
      await lost;
      const first = ok(await create());
      await tickAfter(stateDir(), first.id, 1);
      expect(ok(await client.call(contract.listInstances)).instances).toHaveLength(1);
    });

    it("thaws the sandbox and deletes the files when the disk is full, and a later snapshot works", async () => {
      const memoryDir = join(stateDir(), "memory");
      await mkdir(memoryDir, { recursive: true });
      await execOrThrow("mount", ["-t", "tmpfs", "-o", "size=256k", "tmpfs", memoryDir], { timeoutMs: 5_000 });
      try {
        await start();
        const first = ok(await create());
        const before = await tickAfter(stateDir(), first.id, 1);
        ok(await snapshot());
        expect(await receiver.nth(1)).toMatchObject({ status: "failed", reason: "disk_full" });
        await tickAfter(stateDir(), first.id, before);
        await expect.poll(memoryFolders).toEqual([]);
        await execOrThrow("mount", ["-o", "remount,size=500m", memoryDir], { timeoutMs: 5_000 });
        ok(await restore(await stored()));
      } finally {
        await execOrThrow("umount", ["--lazy", memoryDir], { timeoutMs: 5_000 });
      }
    });

    it.each(["checkpoint.img", "pages.img", "pages_meta.img", "manifest.json"])(
      "refuses a memory image with one flipped byte in %s, by name, and starts nothing",
      async (file) => {
        await start();
        const first = ok(await create("ticks"));
        await tickAfter(stateDir(), first.id, 1);
        const id = await stored();
        const path = join(stateDir(), "memory", id, file);
        const content = await readFile(path);
        const at = Math.floor(content.length * 0.7);
        content[at] = (content[at] ?? 0) ^ 0x10;
        await writeFile(path, content);
        expect(await restore(id)).toMatchObject({
          kind: "refused",
          status: 422,
          code: "memory_image_refused",
          message: expect.stringContaining(file),
        });
        expect(ok(await client.call(contract.listInstances)).instances).toEqual([]);
      },
    );

    it("leaves a running sandbox to the next start when it is stopped by SIGTERM, and thaws a held one", async () => {
      await start({ TORPOR_GATEWAY_ON_EXIT: "keep" });
      const first = ok(await create());
      const before = await tickAfter(stateDir(), first.id, 1);
      ok(await snapshot());
      expect(await receiver.nth(1)).toMatchObject({ held: true });
      const ended = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGTERM");
      expect(await ended).toBe(0);
      await tickAfter(stateDir(), first.id, before);
      await expect.poll(memoryFolders).toEqual([]);
      await client.close();
      await start();
      expect(await state()).toBe("running");
    });

    it("is cleaned up after by a stranger when it was killed for good, and not before", async () => {
      await start();

      const options = { ...host.options, stateDir: host.dir, addressBlock: undefined };

      await expect(cleanUp(options)).rejects.toThrow("another gateway is running there");
      const first = ok(await create());
      await tickAfter(stateDir(), first.id, 1);
      await stored();
      ok(await client.call(contract.createInstance, { body: { ...createBody("ticks"), name: RunnerId.parse("runner-3") } }));
      const ended = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGKILL");
      await ended;
      const cleaned = await cleanUp(options);
      expect(cleaned).toEqual({ sandboxes: 1 });
      expect(await leftoversOf(host.options.planeId)).toEqual([]);
      expect(await readdir(host.dir)).toEqual([]);
      await client.close();
      await start();
    });

    it("tells an exit, with its code, and frees everything of it", async () => {
      await start();
      ok(await create("exits_with_7"));
      const page = ok(await client.call(contract.events, { query: { after: 0, wait_ms: 20_000 } }));
      expect(page.events).toMatchObject([{ type: "exited", name, exitCode: 7 }]);
      await until(
        async () => ((await readdir(join(stateDir(), "gvisor", "sandboxes"))).length === 0 ? true : undefined),
        "its folder to go",
      );
    });

    it("thaws at once when a snapshot of much memory is cancelled while it is written", async () => {
      await start();
      const first = ok(await create());
      await tickAfter(stateDir(), first.id, 1);
      ok(await snapshot());
      await delay(40);
      expect(ok(await client.call(contract.cancelSnapshot, { params: { name } }))).toEqual({ outcome: "thawed" });
      await tickAfter(stateDir(), first.id, lastTick(await outputOf(stateDir(), first.id)));
      await expect.poll(memoryFolders).toEqual([]);
      ok(await restore(await stored()));
    });
  },
);
