import { afterEach, describe, expect, inject, it } from "vitest";
import type { Deployed } from "./harness/deployed.ts";
import { processesIn } from "./harness/host.ts";
import { TestPlane, type TestPlaneOptions } from "./harness/testPlane.ts";
import { until } from "./harness/until.ts";

let plane: TestPlane | undefined;

afterEach(async () => {
  const left = await plane?.remove();
  plane = undefined;
  expect(left ?? []).toEqual([]);
});

async function start(options: TestPlaneOptions): Promise<{ readonly plane: TestPlane; readonly probes: Deployed }> {
  plane = await TestPlane.start(options);
  return { plane, probes: await plane.deploy(inject("prepared").images.probes) };
}

interface Runs {
  readonly asleep: string;
  readonly token: string;
  readonly executing: string;
}

/** One run that sleeps until its token is completed, and one that executes for a while. */
async function runsOf(probes: Deployed): Promise<Runs> {
  const token = await probes.createToken();
  const asleep = await probes.trigger("steps", { steps: [{ token }] });
  await probes.untilAsleep(asleep);
  const executing = await probes.trigger("steps", { steps: [{ spinSeconds: 6 }] });
  await probes.untilLine(executing, "1:begin");
  return { asleep, token, executing };
}

async function endsOnce(probes: Deployed, runId: string): Promise<void> {
  expect(await probes.untilEnded(runId, 120_000)).toMatchObject({ status: "COMPLETED", attemptCount: 1 });
  expect(await probes.lines(runId)).toEqual({ "1:begin": 1, "1:after 0": 1 });
}

async function untilNoProcessWorksIn(dataDir: string): Promise<void> {
  const left = () => processesIn(dataDir).filter(({ command }) => !command.startsWith("runsc"));
  await until("no process of the plane is left", () => (left().length === 0 ? true : undefined), { seen: left });
}

describe("a plane that is stopped and started again", () => {
  it("wakes at its start the run whose wait ended while it was down, and goes on with those that slept and executed", async () => {
    const { plane, probes } = await start({});
    const timed = await probes.trigger("steps", { steps: [{ waitSeconds: 7 }] });
    const runs = await runsOf(probes);
    const dueMs = (await probes.untilEvent(timed, "EXECUTING_WITH_WAITPOINTS")).at.getTime() + 7_000;
    await plane.down();
    expect(processesIn(plane.dataDir).filter(({ command }) => !command.startsWith("runsc"))).toEqual([]);
    await until("the wait is over", () => (Date.now() > dueMs + 500 ? true : undefined));

    await plane.up();

    await endsOnce(probes, timed);
    expect((await probes.run(runs.asleep)).status).toBe("WAITING");
    await probes.completeToken(runs.token);
    await endsOnce(probes, runs.asleep);
    await endsOnce(probes, runs.executing);
    await plane.untilNothingIsLeft();
  });
});

describe("torpor up as a process", () => {
  it("is killed with -9: its parts die with it, and the next one goes on with every run (L10)", async () => {
    const { plane, probes } = await start({ asProcess: true });
    const runs = await runsOf(probes);
    plane.process.child.kill("SIGKILL");
    await untilNoProcessWorksIn(plane.dataDir);

    await plane.up();

    await probes.completeToken(runs.token);
    await endsOnce(probes, runs.asleep);
    await endsOnce(probes, runs.executing);
    await plane.untilNothingIsLeft();
  });

  it("drains at SIGTERM and exits with 0, and what slept wakes at the next start", async () => {
    const { plane, probes } = await start({ asProcess: true });
    const runs = await runsOf(probes);
    plane.process.child.kill("SIGTERM");
    expect(await plane.process.exited).toEqual([0, null]);
    await untilNoProcessWorksIn(plane.dataDir);

    await plane.up();

    await probes.completeToken(runs.token);
    await endsOnce(probes, runs.asleep);
    await endsOnce(probes, runs.executing);
  });
});
