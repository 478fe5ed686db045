// Looks for a task's memory on the disk, as a thief of the disk would: in every block of the file system that the gateway's folder
// lies on, those of deleted files included.
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { RunnerId, type MemoryImageId } from "@torpor/contracts";
import { RouteClient } from "@torpor/http";
import { silentLog } from "@torpor/observe";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { readGatewayConfig } from "../config.ts";
import { execOrThrow } from "../drivers/gvisor/exec.ts";
import { startGateway, type RunningGateway } from "../gateway.ts";
import { stagingDir } from "../graph.ts";
import { CallbackReceiver, contract, ok, TOKEN } from "../testing/fakeGateway.ts";
import { leftoversOf } from "../testing/leftovers.ts";
import { makeRealHost, RUNSC, TEST_RUN_DIR, tickAfter, until, whyNoGvisor, withProgram, type RealHost } from "../testing/realHost.ts";

const CANARY = createHash("sha256").update("canary").digest();
const TEXT = Buffer.from(CANARY.toString("hex"));
const MIB = 1024 * 1024;
const missing = await whyNoGvisor();
const name = RunnerId.parse("runner-1");

/** Whether the text stands anywhere in a file, block devices included. */
async function holds(path: string, text: Buffer): Promise<boolean> {
  let tail = Buffer.alloc(0);
  for await (const piece of createReadStream(path, { highWaterMark: 4 * MIB })) {
    const joined = Buffer.concat([tail, piece as Buffer]);
    if (joined.includes(text)) return true;
    tail = joined.subarray(-text.length);
  }
  return false;
}

describe.skipIf(missing !== undefined)(
  `memory of a real task on the disk (L16)${missing === undefined ? "" : ` cannot run here: ${missing}`}`,
  { timeout: 180_000 },
  () => {
    let scratch: string;
    let disk: string;
    let stateDir: string;
    let host: RealHost;
    let receiver: CallbackReceiver;
    let gateway: RunningGateway;
    let client: RouteClient;

    beforeEach(async () => {
      scratch = await mkdtemp(join(tmpdir(), "torpor-canary-"));
      disk = join(scratch, "disk");
      stateDir = join(scratch, "state");
      await mkdir(stateDir);
      await execOrThrow("truncate", ["-s", String(192 * MIB), disk], { timeoutMs: 10_000 });
      await execOrThrow("mkfs.ext4", ["-q", "-F", disk], { timeoutMs: 60_000 });
      await execOrThrow("mount", ["-o", "loop", disk, stateDir], { timeoutMs: 60_000 });
      host = await makeRealHost();
      receiver = await new CallbackReceiver().listen();
      const { planeId } = host.options;
      const env = {
        COMPUTE_GATEWAY_AUTH_TOKEN: TOKEN,
        TORPOR_STATE_DIR: stateDir,
        TORPOR_GATEWAY_PORT: "0",
        TORPOR_GATEWAY_PLANE: planeId,
        TORPOR_GATEWAY_SPARES: "0",
      };
      const config = readGatewayConfig({ ...env, TORPOR_RUNSC: RUNSC, TORPOR_GATEWAY_MIN_FREE_DISK_BYTES: "0" });
      const images = { find: async (reference: string) => withProgram(host.image, reference) };
      gateway = await startGateway(config, { log: silentLog, images });
      client = new RouteClient({ baseUrl: gateway.url, timeoutMs: 60_000, headers: () => ({ authorization: `Bearer ${TOKEN}` }) });
    });

    afterEach(async () => {
      await client.close();
      await gateway.close({ destroy: true });
      expect(await leftoversOf(host.options.planeId)).toEqual([]);
      await receiver.close();
      await host.close();
      await execOrThrow("umount", [stateDir], { timeoutMs: 60_000 });
      await rm(scratch, { recursive: true, force: true });
    });

    /** What stands on the disk once everything has reached it. */
    async function isOnDisk(text: Buffer): Promise<boolean> {
      await execOrThrow("sync", ["-f", stateDir], { timeoutMs: 60_000 });
      return await holds(disk, text);
    }

    async function asleep(): Promise<MemoryImageId> {
      const body = { name, image: "canary", env: {}, cpu: 1, memory_gb: 0.5, metadata: {} };
      const { id } = ok(await client.call(contract.createInstance, { body }));
      await tickAfter(join(stateDir, "gateway"), id, 1);
      const asked = { callback: { url: receiver.url, metadata: {} }, extensions: ["hold"], hold_ms: 120_000 };
      ok(await client.call(contract.snapshotInstance, { params: { name }, body: asked }));
      const callback = await receiver.nth(1);
      if (callback.status === "failed") throw new Error(`Expected a snapshot: ${JSON.stringify(callback)}`);
      return callback.snapshot_id;
    }

    it("is found by this very search when it was once written in clear, though the file is deleted", async () => {
      const path = join(stateDir, "clear");
      await writeFile(path, TEXT);
      await execOrThrow("sync", ["-f", stateDir], { timeoutMs: 60_000 });
      await rm(path);
      expect(await isOnDisk(TEXT)).toBe(true);
    });

    it("is nowhere while it is held, while it sleeps, after it woke, and after it ended", async () => {
      const imageId = await asleep();
      const staging = stagingDir({ runDir: TEST_RUN_DIR, planeId: host.options.planeId });
      expect(await isOnDisk(TEXT)).toBe(false);
      expect(await readdir(staging)).toEqual([]);
      ok(await client.call(contract.commitSnapshot, { params: { snapshotId: imageId } }));
      expect(await isOnDisk(TEXT)).toBe(false);
      const body = { name: RunnerId.parse("runner-2"), metadata: {}, cpu: 1, memory_gb: 0.5 };
      const { id } = ok(await client.call(contract.restoreSnapshot, { params: { snapshotId: imageId }, body }));
      await tickAfter(join(stateDir, "gateway"), id, 1);
      await until(async () => ((await readdir(staging)).length === 0 ? true : undefined), "the memory in clear to go", 60_000);
      await until(
        async () => ((await readdir(join(stateDir, "gateway", "keys"))).length === 1 ? true : undefined),
        "the key to go",
        60_000,
      );
      ok(await client.call(contract.deleteInstance, { params: { name: body.name } }));
      expect(await isOnDisk(TEXT)).toBe(false);
    });

    it("does not count against the limit of its sandbox while it is written: a task that nearly fills it sleeps and goes on", async () => {
      const machine = { cpu: 1, memory_gb: 0.25 };
      const created = { name, image: "heavy", env: { MEGABYTES: "170" }, ...machine, metadata: {} };
      const first = ok(await client.call(contract.createInstance, { body: created }));
      await tickAfter(join(stateDir, "gateway"), first.id, 1);
      const asked = { callback: { url: receiver.url, metadata: {} }, extensions: ["hold"], hold_ms: 120_000 };
      const accepted = ok(await client.call(contract.snapshotInstance, { params: { name }, body: asked }));
      expect(await receiver.nth(1)).toMatchObject({ status: "completed" });
      const snapshotId = accepted!.snapshot_id;
      expect(ok(await client.call(contract.abortSnapshot, { params: { snapshotId } }))).toEqual({ outcome: "thawed" });
      await tickAfter(join(stateDir, "gateway"), first.id, 3);
      const limit = await execOrThrow(
        "sh",
        [
          "-c",
          `cat /sys/fs/cgroup/memory/torpor-${host.options.planeId}/${first.id}/memory.limit_in_bytes /sys/fs/cgroup/torpor-${host.options.planeId}/${first.id}/memory.max 2>/dev/null || true`,
        ],
        { timeoutMs: 5_000 },
      );
      expect(Number(limit.trim())).toBe(Math.round(0.25 * 1024 * MIB) + 64 * MIB);
    });
  },
);
