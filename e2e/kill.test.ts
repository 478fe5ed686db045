import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import type { Deployed } from "./harness/deployed.ts";
import { killSandbox, processesOfSandbox } from "./harness/host.ts";
import { TestPlane } from "./harness/testPlane.ts";
import { until } from "./harness/until.ts";

let plane: TestPlane;
let probes: Deployed;

beforeAll(async () => {
  plane = await TestPlane.start();
  probes = await plane.deploy(inject("prepared").images.probes);
});

afterAll(async () => {
  await plane?.remove();
});

type Part = Parameters<TestPlane["plane"]["part"]>[0];

/** Ends a part as a fault would, and waits until another process has taken its place. */
async function killNine(part: Part): Promise<void> {
  const { pid } = plane.plane.part(part);
  plane.plane.part(part).kill("SIGKILL");
  await until(`the ${part} is started again`, () => {
    const now = plane.plane.part(part).pid;
    return now !== undefined && now !== pid ? true : undefined;
  });
}

const ONCE = { "1:begin": 1, "1:after 0": 1 };

/** The run has come to its end in its first attempt, and each of its lines ran exactly once. */
async function endsOnce(runId: string): Promise<void> {
  expect(await probes.untilEnded(runId, 120_000)).toMatchObject({ status: "COMPLETED", attemptCount: 1, output: { attempt: 1 } });
  expect(await probes.lines(runId)).toEqual(ONCE);
}

describe.each(["supervisor", "gateway", "platform", "postgresql"] as const)("kill -9 of the %s", (part) => {
  /** A run that sleeps over the first kill and is being restored at the second. */
  let asleep: string;
  let sleepToken: string;

  beforeAll(async () => {
    sleepToken = await probes.createToken();
    asleep = await probes.trigger("steps", { fillMb: 200, steps: [{ token: sleepToken }] });
    await probes.untilAsleep(asleep);
  });

  it("loses and repeats no line of a run that executes, of one that sleeps and of one that is being frozen (L10)", async () => {
    const token = await probes.createToken();
    const executes = await probes.trigger("steps", { steps: [{ spinSeconds: 6 }] });
    await probes.untilLine(executes, "1:begin");
    const isFrozen = await probes.trigger("steps", { fillMb: 200, steps: [{ token }] });
    await probes.untilSandbox(isFrozen, "freezing", "held");
    expect(await probes.lines(executes)).toEqual({ "1:begin": 1 });

    await killNine(part);

    await probes.completeToken(token);
    for (const runId of [executes, isFrozen]) await endsOnce(runId);
    expect(await probes.run(asleep)).toMatchObject({ status: "WAITING" });
    expect(await probes.memoryImagesOf(asleep)).toMatchObject([{ state: "stored" }]);
  });

  it("loses and repeats no line of a run that is being restored (L6, L10)", async () => {
    await probes.completeToken(sleepToken);
    await probes.untilSandbox(asleep, "starting");

    await killNine(part);

    await endsOnce(asleep);
  });

  it("leaves no sandbox, process or memory image when its runs have ended (L7)", async () => {
    await plane.untilNothingIsLeft();
  });
});

/** Well below the 60 and 300 s after which the engine finds a lost run by itself. */
const QUICKLY_MS = 40_000;

describe.concurrent("the kill of a sandbox", () => {
  it("before its task has started hands the run to another sandbox, in the same attempt", async () => {
    const runId = await probes.trigger("steps", { steps: [{ spinSeconds: 0 }] });
    killSandbox((await probes.untilSandbox(runId, "running")).id);
    expect(await probes.untilEnded(runId, QUICKLY_MS)).toMatchObject({ status: "COMPLETED" });
    expect((await probes.events(runId)).filter((name) => name === "launch.created").length).toBeGreaterThan(1);
    await probes.untilEvent(runId, "runner.lost");
  });

  it("while its task executes fails the attempt at once, and the next one starts over", async () => {
    const runId = await probes.trigger("steps", { steps: [{ spinSeconds: 3 }] });
    await probes.untilLine(runId, "1:begin");
    killSandbox((await probes.untilSandbox(runId, "running")).id);
    expect(await probes.untilEnded(runId, QUICKLY_MS)).toMatchObject({ status: "COMPLETED", attemptCount: 2, output: { attempt: 2 } });
    expect(await probes.lines(runId)).toEqual({ "1:begin": 1, "2:begin": 1, "2:after 0": 1 });
  });

  it("of a task without a second attempt fails the run and says how", async () => {
    const runId = await probes.trigger("steps", { steps: [{ spinSeconds: 60 }] }, { maxAttempts: 1 });
    await probes.untilLine(runId, "1:begin");
    killSandbox((await probes.untilSandbox(runId, "running")).id);
    expect(await probes.untilEnded(runId, QUICKLY_MS)).toMatchObject({
      status: "CRASHED",
      attemptCount: 1,
      error: { message: expect.stringContaining("The runner ended without completing the run") as string },
    });
  });

  it("while it is being frozen fails the attempt at once, and its half-written memory is never restored", async () => {
    const token = await probes.createToken();
    const runId = await probes.trigger("steps", { fillMb: 250, steps: [{ token }] });
    killSandbox((await probes.untilSandbox(runId, "freezing")).id);
    await probes.untilLine(runId, "2:begin");
    await probes.completeToken(token);
    expect(await probes.untilEnded(runId, QUICKLY_MS)).toMatchObject({ status: "COMPLETED", attemptCount: 2, output: { attempt: 2 } });
    expect(await probes.lines(runId)).toEqual({ "1:begin": 1, "2:begin": 1, "2:after 0": 1 });
  });

  it("that is being restored starts the attempt over, once its memory was consumed (L6, L11)", async () => {
    const token = await probes.createToken();
    const runId = await probes.trigger("steps", { fillMb: 250, steps: [{ token }] });
    await probes.untilAsleep(runId);
    await probes.completeToken(token);
    const { id } = await probes.untilSandbox(runId, "starting", "running");
    await until(
      "its kernel runs",
      () => (processesOfSandbox(id).some(({ command }) => command.startsWith("runsc-sandbox")) ? true : undefined),
      { everyMs: 5 },
    );
    killSandbox(id);
    const run = await probes.untilEnded(runId, QUICKLY_MS);
    expect(run).toMatchObject({ status: "COMPLETED" });
    // Killed before its memory was consumed, it is restored again; afterwards it starts over
    expect(await probes.lines(runId)).toEqual(run.attemptCount === 1 ? ONCE : { "1:begin": 1, "2:begin": 1, "2:after 0": 1 });
  });

  it("that has just been restored starts the attempt over with a named reason (L11)", async () => {
    const token = await probes.createToken();
    const runId = await probes.trigger("steps", { fillMb: 100, steps: [{ token }, { spinSeconds: 3 }] });
    await probes.untilAsleep(runId);
    await probes.completeToken(token);
    killSandbox((await probes.untilSandbox(runId, "running")).id);
    expect(await probes.untilEnded(runId, QUICKLY_MS)).toMatchObject({ status: "COMPLETED", attemptCount: 2, output: { attempt: 2 } });
    expect(await probes.untilEvent(runId, "runner.lost")).toMatchObject({ reason: expect.stringMatching(/./) as string });
    expect(await probes.lines(runId)).toMatchObject({ "1:begin": 1, "2:begin": 1, "2:after 0": 1, "2:after 1": 1 });
  });
});

describe("the kill of a sandbox that nobody needs any more", () => {
  it("because its memory is on disk loses nothing: the run is asleep and wakes to the line", async () => {
    const token = await probes.createToken();
    const runId = await probes.trigger("steps", { fillMb: 100, steps: [{ token }] });
    await probes.untilSandbox(runId, "freezing");
    plane.plane.part("supervisor").kill("SIGSTOP"); // nobody decides, so that the test has time
    try {
      killSandbox((await probes.untilSandbox(runId, "held")).id);
    } finally {
      plane.plane.part("supervisor").kill("SIGCONT");
    }
    await probes.untilAsleep(runId);
    await probes.completeToken(token);
    await endsOnce(runId);
  });

  it("or of any other leaves nothing behind (L7)", async () => {
    await plane.untilNothingIsLeft();
    expect(await plane.remove()).toEqual([]);
  });
});
