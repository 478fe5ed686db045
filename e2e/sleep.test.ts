import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import type { Deployed } from "./harness/deployed.ts";
import { processesOfSandbox } from "./harness/host.ts";
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

/** Follows a run into its sleep, and checks that the machine has no process of it any more. */
async function fallsAsleep(project: Deployed, runId: string): Promise<void> {
  const sandbox = await project.untilSandbox(runId, "running");
  expect(processesOfSandbox(sandbox.id)).not.toEqual([]);
  await project.untilAsleep(runId);
  await until(`no process of ${sandbox.id} is left`, () => (processesOfSandbox(sandbox.id).length === 0 ? true : undefined), {
    seen: () => processesOfSandbox(sandbox.id),
  });
  expect(await project.sandboxOf(runId)).toBeUndefined();
  await until("its memory image may be restored", async () =>
    (await project.memoryImagesOf(runId))[0]?.state === "stored" ? true : undefined,
  );
}

describe.concurrent("a task that waits", () => {
  it("goes on at the very line with its memory, files and attempt number after a sleep without a process", async () => {
    const runId = await nap.trigger("nap", { seconds: 45, slackSeconds: 60 }); // a busy machine may take a dozen seconds to freeze it
    await fallsAsleep(nap, runId);
    const run = await nap.untilEnded(runId, 120_000);
    expect(run).toMatchObject({
      status: "COMPLETED",
      attemptCount: 1,
      output: { attempt: 1, trail: "11 12 13 21 [22] 23 31 32 33", sum: 121 },
    });
    expect(Object.values((run.output as { checks: Record<string, boolean> }).checks)).not.toContain(false);
    await nap.untilEvent(runId, "launch.restored");
  });

  it("is given what somebody outside completed its token with while it slept", async () => {
    const runId = await nap.trigger("token");
    await fallsAsleep(nap, runId);
    await nap.completeToken(await nap.tokenOf(runId), { answer: 42 });
    expect(await nap.untilEnded(runId)).toMatchObject({ status: "COMPLETED", attemptCount: 1, output: { data: { answer: 42 } } });
  });

  it("sleeps while its children sleep and gets their results in order", async () => {
    const runId = await nap.trigger("parent", { seconds: 15 });
    await fallsAsleep(nap, runId);
    const run = await nap.untilEnded(runId, 120_000);
    expect(run).toMatchObject({ status: "COMPLETED", output: { squares: [4, 9, 16, 25], sum: 54 } });
    await nap.untilEvent(runId, "launch.restored");
    const children = await Promise.all((run.relatedRuns.children ?? []).map(({ id }) => nap.events(id)));
    expect(children).toHaveLength(4);
    expect(children.filter((events) => events.includes("SUSPENDED"))).not.toEqual([]); // on a busy machine some wait is over too soon
  });

  it("sleeps again at its next wait, under a new runner each time, and runs no line twice", async () => {
    const tokens = [await probes.createToken(), await probes.createToken()];
    const runId = await probes.trigger("steps", { steps: tokens.map((token) => ({ token })) });
    for (const [index, token] of tokens.entries()) {
      await probes.untilEvent(runId, index === 0 ? "EXECUTING" : "launch.restored");
      await probes.untilAsleep(runId);
      await probes.completeToken(token, index);
    }
    expect(await probes.untilEnded(runId)).toMatchObject({ status: "COMPLETED", output: { attempt: 1, data: [0, 1] } });
    expect(await probes.lines(runId)).toEqual({ "1:begin": 1, "1:after 0": 1, "1:after 1": 1 });
    expect((await probes.events(runId)).filter((name) => name === "SUSPENDED")).toHaveLength(2);
  });

  it("lets the next run of its queue have its place while it sleeps", async () => {
    const token = await probes.createToken();
    const first = await probes.trigger("steps", { steps: [{ token }] }, { queue: { name: "single" } });
    await probes.untilLine(first, "1:begin");
    const second = await probes.trigger("steps", { steps: [{ spinSeconds: 0.1 }] }, { queue: { name: "single" } });
    expect((await probes.run(second)).status).toBe("QUEUED");
    await probes.untilAsleep(first);
    expect(await probes.untilEnded(second)).toMatchObject({ status: "COMPLETED" });
    expect((await probes.run(first)).status).toBe("WAITING");
    await probes.completeToken(token);
    expect(await probes.untilEnded(first)).toMatchObject({ status: "COMPLETED" });
  });

  it("is cancelled in its sleep without being woken, and its memory is deleted", async () => {
    const runId = await nap.trigger("cancelled");
    await fallsAsleep(nap, runId);
    await nap.cancel(runId);
    expect(await nap.untilEnded(runId)).toMatchObject({ status: "CANCELED" });
    expect(await nap.events(runId)).not.toContain("launch.restored");
    await until("its memory image is deleted", async () => ((await nap.memoryImagesOf(runId)).length === 0 ? true : undefined));
  });

  it("is retried after failures, later each time, and tells the attempt that succeeded", async () => {
    const runId = await nap.trigger("flaky");
    expect(await nap.untilEnded(runId)).toMatchObject({ status: "COMPLETED", attemptCount: 3, output: { attempt: 3 } });
  });
});

describe("a node that no run needs", () => {
  it("holds no sandbox, no process and no byte of memory, and stops without a trace (L7)", async () => {
    await plane.untilNothingIsLeft();
    expect(plane.unexpectedExits).toEqual([]);
    expect(await plane.remove()).toEqual([]);
  });
});
