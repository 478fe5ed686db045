import { execFileSync } from "node:child_process";
import { closeSync, mkdirSync, openSync, readdirSync, readSync, rmSync, statSync, writeSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { cli } from "./harness/cli.ts";
import type { Deployed } from "./harness/deployed.ts";
import { TestPlane } from "./harness/testPlane.ts";

let plane: TestPlane;
let probes: Deployed;

/** A run that sleeps, its token, and the folder of its memory image. */
async function sleeper(): Promise<{ readonly runId: string; readonly token: string; readonly imageDir: string }> {
  const token = await probes.createToken();
  const runId = await probes.trigger("steps", { steps: [{ token }] });
  await probes.untilAsleep(runId);
  const [image] = await probes.memoryImagesOf(runId);
  const imageDir = readdirSync(plane.memoryDir).find((name) => image !== undefined && name.startsWith(image.id)) ?? "missing";
  return { runId, token, imageDir: join(plane.memoryDir, imageDir) };
}

/** Inverts one byte in the middle of the largest file. */
function damage(dir: string): void {
  const files = readdirSync(dir).map((name) => join(dir, name));
  const [largest = ""] = files.toSorted((a, b) => statSync(b).size - statSync(a).size);
  const file = openSync(largest, "r+");
  const at = Math.floor(statSync(largest).size / 2);
  const byte = Buffer.alloc(1);
  readSync(file, byte, 0, 1, at);
  byte[0] = (byte[0] ?? 0) ^ 0xff;
  writeSync(file, byte, 0, 1, at);
  closeSync(file);
}

describe("a memory image that is not what was written", () => {
  beforeAll(async () => {
    plane = await TestPlane.start();
    probes = await plane.deploy(inject("prepared").images.probes);
  });

  afterAll(async () => {
    await plane?.remove();
  });

  it("is refused when a byte of it has changed: the attempt starts over, and the run's timeline says why (L11)", async () => {
    const { runId, token, imageDir } = await sleeper();
    damage(imageDir);
    await probes.completeToken(token);
    expect(await probes.untilEnded(runId)).toMatchObject({ status: "COMPLETED", attemptCount: 2, output: { attempt: 2, data: ["done"] } });
    expect(await probes.lines(runId)).toEqual({ "1:begin": 1, "2:begin": 1, "2:after 0": 1 });
    const { code, out } = await cli(["runs", "show", runId, "--data-dir", plane.dataDir, "--project", "proj_probes"]);
    expect(code).toBe(0);
    expect(out).toContain("memory_image_refused");
  });

  it("is missed when somebody has deleted it: the attempt starts over, and the run's timeline says why (L11)", async () => {
    const { runId, token, imageDir } = await sleeper();
    rmSync(imageDir, { recursive: true });
    await probes.completeToken(token);
    expect(await probes.untilEnded(runId)).toMatchObject({ status: "COMPLETED", attemptCount: 2, output: { attempt: 2 } });
    expect(await probes.lines(runId)).toEqual({ "1:begin": 1, "2:begin": 1, "2:after 0": 1 });
    expect(JSON.stringify(await probes.timeline(runId))).toMatch(/memory_image_(gone|refused)/);
  });

  it("is deleted when it was refused (L7)", async () => {
    await plane.untilNothingIsLeft();
  });
});

describe("a disk that is full", () => {
  let gatewayDir: string;

  beforeAll(async () => {
    plane = new TestPlane({ env: { TORPOR_GATEWAY_MIN_FREE_DISK_BYTES: "1048576" } });
    gatewayDir = join(plane.dataDir, "gateway");
    mkdirSync(gatewayDir, { mode: 0o711 });
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=20m,mode=711", "torpor-e2e", gatewayDir]);
    await plane.up();
    probes = await plane.deploy(inject("prepared").images.probes);
  });

  afterAll(async () => {
    await plane.down();
    execFileSync("umount", ["--lazy", gatewayDir]);
    await plane.remove();
  });

  it("costs a run its sleep and nothing else: it is thawed and goes on in the same process when its wait ends", async () => {
    const token = await probes.createToken();
    const runId = await probes.trigger("steps", { fillMb: 200, steps: [{ token }] });
    expect(await probes.untilEvent(runId, "snapshot.failed")).toMatchObject({ reason: "disk_full" });
    await probes.completeToken(token);
    expect(await probes.untilEnded(runId)).toMatchObject({ status: "COMPLETED", attemptCount: 1, output: { data: ["done"] } });
    expect(await probes.lines(runId)).toEqual({ "1:begin": 1, "1:after 0": 1 });
    expect(await probes.events(runId)).not.toContain("SUSPENDED");
  });

  it("is not filled by what was half written (L7)", async () => {
    await plane.untilNothingIsLeft();
  });
});
