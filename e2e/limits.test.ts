import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import type { Deployed } from "./harness/deployed.ts";
import { TestPlane } from "./harness/testPlane.ts";
import { until } from "./harness/until.ts";

let plane: TestPlane;
let nap: Deployed;
let probes: Deployed;

beforeAll(async () => {
  plane = await TestPlane.start();
  const { images } = inject("prepared");
  nap = await plane.deploy(images.nap);
  probes = await plane.deploy(images.probes);
});

afterAll(async () => {
  await plane?.remove();
});

describe.concurrent("a run that takes more than it may have", () => {
  it("is refused with 413 when its payload is too large, and does not exist", async () => {
    const headers = { authorization: `Bearer ${nap.apiKey}`, "content-type": "application/json" };
    const body = JSON.stringify({ payload: "x".repeat(20_000_000), options: { tags: ["too-large"] } });
    const response = await fetch(`${plane.apiUrl}/api/v1/tasks/hello/trigger`, { method: "POST", headers, body });
    expect(response.status).toBe(413);
    expect(await response.json()).toMatchObject({ error: expect.stringMatching(/more than the \d+ bytes/) as string });
    const listed = await fetch(`${plane.apiUrl}/api/v1/runs?filter[tag]=too-large`, { headers });
    expect(await listed.json()).toMatchObject({ data: [] });
  });

  it("crashes when its memory is used up and no larger machine is named, and says so", async () => {
    const run = await nap.untilEnded(await nap.trigger("oom"));
    expect(run).toMatchObject({ status: "CRASHED", attemptCount: 1, error: { message: expect.stringContaining("more memory") as string } });
  });

  it("gets the larger machine that its task names when its memory is used up", async () => {
    const run = await probes.untilEnded(await probes.trigger("hungry", { megabytes: 640 }));
    expect(run).toMatchObject({ status: "COMPLETED", attemptCount: 2, output: { machine: "small-2x", attempt: 2 } });
  });

  it("crashes when the larger machine is too small as well", async () => {
    const runId = await probes.trigger("hungry", { megabytes: 4_096 });
    const run = await probes.untilEnded(runId);
    expect(run.status).toBe("CRASHED");
    // Whom the kernel kills when memory is used up is its choice: where it is the runner, that attempt starts over first
    expect(run.attemptCount, JSON.stringify(await probes.story(runId))).toBeOneOf([2, 3]);
  });

  it("crashes when its process ends under it, and tells the exit code", async () => {
    const run = await nap.untilEnded(await nap.trigger("crash", { exitCode: 3 }));
    expect(run).toMatchObject({ status: "CRASHED", attemptCount: 1, error: { message: expect.stringContaining("3") as string } });
  });

  it("times out when it executes longer than its maximum", async () => {
    const run = await nap.untilEnded(await nap.trigger("spin", { seconds: 60 }, { maxDuration: 5 }));
    expect(run).toMatchObject({ status: "TIMED_OUT" });
  });
});

describe.concurrent("a run that is cancelled", () => {
  it("ends while it executes, and its sandbox is gone", async () => {
    const runId = await nap.trigger("spin", { seconds: 120 });
    await nap.untilEvent(runId, "EXECUTING");
    await nap.untilSandbox(runId, "running");
    await nap.cancel(runId);
    expect(await nap.untilEnded(runId)).toMatchObject({ status: "CANCELED" });
    await until("its sandbox is gone", async () => ((await nap.sandboxOf(runId)) === undefined ? true : undefined), {
      seen: () => nap.story(runId),
    });
  });

  it("ends while it is being frozen, and nothing of it is kept (L7)", async () => {
    const token = await probes.createToken();
    const runId = await probes.trigger("steps", { fillMb: 250, steps: [{ token }] });
    await probes.untilSandbox(runId, "freezing");
    await probes.cancel(runId);
    expect(await probes.untilEnded(runId)).toMatchObject({ status: "CANCELED" });
    const left = async () => [...(await probes.memoryImagesOf(runId)), await probes.sandboxOf(runId)].filter((one) => one !== undefined);
    await until("its sandbox and its memory image are gone", async () => ((await left()).length === 0 ? true : undefined), { seen: left });
    expect(await probes.lines(runId)).toEqual({ "1:begin": 1 });
  });
});

describe("a node whose runs have all ended badly", () => {
  it("holds nothing of them (L7)", async () => {
    await plane.untilNothingIsLeft();
    expect(plane.unexpectedExits).toEqual([]);
  });
});
