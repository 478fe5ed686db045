import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import type { Deployed } from "./harness/deployed.ts";
import { TestPlane } from "./harness/testPlane.ts";
import { until } from "./harness/until.ts";

// Long enough that a test sees an intent in the timer wheel and ends its wait there; one freeze at a time, so that others queue.
const env = { COMPUTE_SNAPSHOT_DELAY_MS: "2500", COMPUTE_SNAPSHOT_DISPATCH_LIMIT: "1" };

let plane: TestPlane;
let probes: Deployed;

beforeAll(async () => {
  plane = await TestPlane.start({ env });
  probes = await plane.deploy(inject("prepared").images.probes);
});

afterAll(async () => {
  await plane?.remove();
});

describe("a wait that ends before its run sleeps", () => {
  it("is never followed by a snapshot when it ends in the timer wheel (L1)", async () => {
    const token = await probes.createToken();
    const runId = await probes.trigger("steps", { steps: [{ token }] });
    await probes.untilEvent(runId, "snapshot.scheduled");
    await probes.completeToken(token);
    expect(await probes.untilEnded(runId)).toMatchObject({ status: "COMPLETED", output: { attempt: 1, data: ["done"] } });
    expect(await probes.untilEvent(runId, "snapshot.canceled")).toMatchObject({ reason: "resumed", properties: { phase: "scheduled" } });
    expect(await probes.events(runId)).not.toContain("snapshot.dispatched");
  });

  it("takes the snapshot out of the queue behind the one that is being written (L1)", async () => {
    const tokens = await Promise.all(Array.from({ length: 4 }, () => probes.createToken()));
    const togetherMs = Date.now() + 12_000;
    const runIds = await Promise.all(
      tokens.map((token) => probes.trigger("steps", { fillMb: 150, steps: [{ spinUntilMs: togetherMs }, { token }] })),
    );
    await Promise.race(runIds.map((runId) => probes.untilEvent(runId, "snapshot.dispatched")));
    await Promise.all(tokens.map((token) => probes.completeToken(token)));
    for (const runId of runIds) {
      expect(await probes.untilEnded(runId)).toMatchObject({ status: "COMPLETED", output: { attempt: 1 } });
      expect(await probes.lines(runId)).toEqual({ "1:begin": 1, "1:after 0": 1, "1:after 1": 1 });
    }
    const timelines = await Promise.all(runIds.map((runId) => probes.timeline(runId)));
    const queued = timelines.filter((timeline) =>
      timeline.some(
        ({ name, reason, properties }) => name === "snapshot.canceled" && reason === "resumed" && properties?.["phase"] === "due",
      ),
    );
    expect(queued.length).toBeGreaterThan(0);
    for (const timeline of queued) expect(timeline.map(({ name }) => name)).not.toContain("snapshot.dispatched");
  });

  it("thaws the sandbox whose memory is being written, and the same process goes on (L4)", async () => {
    const token = await probes.createToken();
    const runId = await probes.trigger("steps", { fillMb: 250, steps: [{ token }] });
    const { id } = await probes.untilSandbox(runId, "freezing");
    await probes.completeToken(token);
    const run = await probes.untilEnded(runId);
    expect(run).toMatchObject({ status: "COMPLETED", attemptCount: 1, output: { data: ["done"] } });
    const events = await probes.events(runId);
    expect(events).not.toContain("SUSPENDED");
    expect(events).not.toContain("launch.restored");
    expect(events).toContain("snapshot.canceled");
    expect((await probes.sandboxOf(runId))?.id ?? id).toBe(id);
  });

  it("thaws the sandbox that is held for the platform's decision, and its memory image is deleted (L4, L7)", async () => {
    const token = await probes.createToken();
    const runId = await probes.trigger("steps", { fillMb: 150, steps: [{ token }] });
    await probes.untilSandbox(runId, "freezing");
    plane.plane.part("supervisor").kill("SIGSTOP"); // nobody reports the image, so that the test has time
    try {
      await probes.untilSandbox(runId, "held");
      await probes.completeToken(token);
      await probes.untilEvent(runId, "EXECUTING", ({ reason }) => reason !== "Attempt 1 started");
    } finally {
      plane.plane.part("supervisor").kill("SIGCONT");
    }
    expect(await probes.untilEnded(runId)).toMatchObject({ status: "COMPLETED", attemptCount: 1, output: { data: ["done"] } });
    const events = await probes.events(runId);
    expect(events).not.toContain("SUSPENDED");
    expect(events).not.toContain("launch.restored");
    await until("its memory image is deleted", async () => ((await probes.memoryImagesOf(runId)).length === 0 ? true : undefined));
  });

  it("leaves nothing of the snapshots that were given up (L7)", async () => {
    await plane.untilNothingIsLeft();
    expect(plane.unexpectedExits).toEqual([]);
  });
});
