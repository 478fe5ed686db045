import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import type { Deployed } from "./harness/deployed.ts";
import { processesIn } from "./harness/host.ts";
import { TestPlane } from "./harness/testPlane.ts";
import { until } from "./harness/until.ts";

let plane: TestPlane;
let nap: Deployed;

beforeAll(async () => {
  plane = await TestPlane.start({ driver: "process", splitNode: false });
  nap = await plane.deploy(inject("prepared").images.nap);
});

afterAll(async () => {
  await plane?.remove();
});

describe.concurrent("a plane without sandboxes", () => {
  it("runs a task as a plain process and gives its result", async () => {
    expect(await nap.untilEnded(await nap.trigger("hello", { from: "here" }))).toMatchObject({
      status: "COMPLETED",
      attemptCount: 1,
      output: { payload: { from: "here" } },
    });
  });

  it("keeps a waiting task in memory, and it goes on with everything that it had", async () => {
    const runId = await nap.trigger("nap", { seconds: 8, slackSeconds: 60 });
    const run = await nap.untilEnded(runId);
    expect(run).toMatchObject({ status: "COMPLETED", attemptCount: 1, output: { trail: "11 12 13 21 [22] 23 31 32 33" } });
    const events = await nap.events(runId);
    expect(events).toContain("EXECUTING_WITH_WAITPOINTS");
    expect(events).not.toContain("SUSPENDED");
    expect(await plane.memoryImages()).toEqual([]);
  });

  it("retries a task that fails", async () => {
    expect(await nap.untilEnded(await nap.trigger("flaky"))).toMatchObject({ status: "COMPLETED", attemptCount: 3 });
  });

  it("cancels a task while it waits and ends its processes", async () => {
    const runId = await nap.trigger("cancelled");
    await nap.untilEvent(runId, "EXECUTING_WITH_WAITPOINTS");
    await nap.cancel(runId);
    expect(await nap.untilEnded(runId)).toMatchObject({ status: "CANCELED" });
    await until("its sandbox is gone", async () => ((await nap.sandboxOf(runId)) === undefined ? true : undefined), {
      seen: () => nap.story(runId),
    });
  });
});

describe("a plane without sandboxes that stops", () => {
  it("leaves no process and no file behind", async () => {
    await plane.untilNothingIsLeft();
    const { dataDir } = plane;
    expect(await plane.remove()).toEqual([]);
    expect(processesIn(dataDir)).toEqual([]);
  });
});
