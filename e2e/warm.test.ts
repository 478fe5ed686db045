// Runs that start in a runner which has just finished another one: the real runner, in real sandboxes (L12).
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { sdkEnvVars, type InstanceView, type RetrievedRun } from "@torpor/contracts";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { answered } from "./harness/answered.ts";
import type { Deployed } from "./harness/deployed.ts";
import { killSandbox, processesOfSandbox } from "./harness/host.ts";
import { TestPlane } from "./harness/testPlane.ts";
import { until } from "./harness/until.ts";

/** How long one poll of a runner lasts here: long enough to be met in its middle, short enough to be waited out. */
const CONNECTION_MS = 12_000;

let plane: TestPlane;
let probes: Deployed;

beforeAll(async () => {
  plane = await TestPlane.start({
    splitNode: false,
    env: {
      TRIGGER_WARM_START_KEEPALIVE_MS: "100000",
      TORPOR_WARM_START_CONNECTION_MS: String(CONNECTION_MS),
      // Runs of the tests come as they come; nothing is to be learned from that here
      TORPOR_WARM_START_MAX_KEEPALIVE_MS: "100000",
      TORPOR_GATEWAY_TEMPLATES: "off",
    },
  });
  probes = await plane.deploy(inject("prepared").images.probes);
});

afterAll(async () => {
  await plane?.remove();
});

interface Output {
  readonly found: readonly string[];
  readonly traceId: string;
  readonly options: readonly string[];
  readonly variable: string | null;
}

interface Ended {
  readonly run: RetrievedRun;
  readonly output: Output;
  /** How each attempt came to its runner. */
  readonly starts: readonly string[];
  readonly runner: string;
}

async function ended(runId: string): Promise<Ended> {
  const run = await probes.untilEnded(runId);
  expect(run).toMatchObject({ status: "COMPLETED", attemptCount: 1 });
  const launched = await until(`${runId} says how it started`, async () => {
    const lines = (await probes.timeline(runId)).filter(({ name }) => /^launch\.(warm|created)$/.test(name));
    return lines.length === 0 ? undefined : lines;
  });
  const timeline = await probes.timeline(runId);
  const executing = timeline.filter(({ name }) => name === "EXECUTING");
  expect(executing).toHaveLength(1); // never twice
  expect(timeline.filter(({ name }) => name === "PENDING_EXECUTING")).toHaveLength(1); // and never lost until its lease ran out
  return { run, output: run.output as Output, starts: launched.map(({ name }) => name), runner: String(executing[0]?.runnerId) };
}

async function run(payload: Record<string, unknown> = {}): Promise<Ended> {
  return await ended(await probes.trigger("canary", payload));
}

/** A run, and the sandbox that waits for another one after it. No other sandbox waits then. */
async function idleRunner(payload: Record<string, unknown> = {}): Promise<{ first: Ended; sandbox: InstanceView }> {
  const first = await run(payload);
  const sandbox = await until("one sandbox is left", async () => {
    const left = await plane.instances();
    return left.length === 1 ? left[0] : undefined;
  });
  await untilIdle(1);
  return { first, sandbox };
}

async function untilIdle(count: number): Promise<void> {
  await until(`${count} runners wait`, async () => ((await idleCount()) === count ? true : undefined), { seen: () => plane.lastWords() });
}

/** What the node itself says. */
async function idleCount(): Promise<number> {
  const metricsUrl = /"metricsUrl":"([^"]+)"/.exec(readFileSync(join(plane.dataDir, "logs/node.log"), "utf8"))?.[1] ?? "";
  const text = await (await fetch(`${metricsUrl}/metrics`)).text();
  return Number(/^torpor_idle_runners(?:\{[^}]*\})? (\d+)/m.exec(text)?.[1] ?? 0);
}

async function removeAll(): Promise<void> {
  for (const { id } of await plane.instances()) if (processesOfSandbox(id).length > 0) killSandbox(id);
  await until("no sandbox is left", async () => ((await plane.instances()).length === 0 ? true : undefined));
  await untilIdle(0);
}

async function runsc(sandbox: InstanceView, command: "pause" | "resume"): Promise<void> {
  const { images: _, env } = inject("prepared");
  const root = / --root[ =](\S+)/.exec(
    processesOfSandbox(sandbox.id).find(({ command: text }) => text.includes("--root"))?.command ?? "",
  )?.[1];
  if (root === undefined) throw new Error(`Cannot find where the state of ${sandbox.id} is`);
  await promisify(execFile)(env["TORPOR_RUNSC"] ?? "runsc", ["--root", root, command, sandbox.id], { timeout: 30_000 });
}

describe("nothing of one run is there in the next run of the same runner", () => {
  it("no file, no process, no memory, no variable and no trace", async () => {
    const { first } = await idleRunner({ plant: true });
    const second = await run();
    expect(second).toMatchObject({ starts: ["launch.warm"], runner: first.runner });
    expect(second.output.found).toEqual([]);
    expect(second.output.traceId).toMatch(/^[0-9a-f]{32}$/);
    expect(second.output.traceId).not.toBe(first.output.traceId);
    expect(second.output.options).toEqual(first.output.options);
    await removeAll();
  });

  it("no variable that its environment had then and has no more", async () => {
    const at = { projectRef: "proj_probes", slug: "prod" };
    await answered(() => probes.client.call(sdkEnvVars.create, { params: at, body: { name: "CANARY_VARIABLE", value: "of then" } }));
    const { first } = await idleRunner();
    expect(first.output.variable).toBe("of then");
    await answered(() => probes.client.call(sdkEnvVars.delete, { params: { ...at, name: "CANARY_VARIABLE" } }));
    const second = await run();
    expect(second).toMatchObject({ starts: ["launch.warm"], runner: first.runner, output: { variable: null } });
    await removeAll();
  });

  it("a run that changes a file of its image is the last one of its sandbox", async () => {
    await run({ spoil: true });
    await until("its sandbox has left", async () => ((await plane.instances()).length === 0 ? true : undefined));
    const next = await run();
    expect(next).toMatchObject({ starts: ["launch.created"], output: { found: [] } });
    await removeAll();
  });
});

describe("a run that comes while a runner waits that cannot take it starts elsewhere, once", () => {
  it("when the sandbox was killed", async () => {
    const { first, sandbox } = await idleRunner();
    killSandbox(sandbox.id);
    const next = await run();
    expect(next.starts).toEqual(["launch.created"]);
    expect(next.runner).not.toBe(first.runner);
    await removeAll();
  });

  it("when the sandbox stands still; and when that goes on, it takes the run after", async () => {
    const { first, sandbox } = await idleRunner();
    await runsc(sandbox, "pause");
    const next = await run();
    expect(next.starts).toEqual(["launch.created"]);
    expect(next.runner).not.toBe(first.runner);
    const own = (await plane.instances()).find(({ name }) => name === next.runner);
    if (own !== undefined) killSandbox(own.id);
    await untilIdle(0);
    await runsc(sandbox, "resume");
    await untilIdle(1); // what it was given meanwhile was refused, and it waits again
    expect(await run()).toMatchObject({ starts: ["launch.warm"], runner: first.runner });
    await removeAll();
  });

  it("when its connection is half open: nothing comes through any more, and nobody has said so", async () => {
    const { first, sandbox } = await idleRunner();
    await cutOff(sandbox);
    const next = await run();
    expect(next.starts).toEqual(["launch.created"]);
    expect(next.runner).not.toBe(first.runner);
    await removeAll();
  });

  it("when its poll is older than its client's patience", async () => {
    const { sandbox } = await idleRunner();
    await runsc(sandbox, "pause");
    await new Promise((resolve) => setTimeout(resolve, CONNECTION_MS));
    const runId = await probes.trigger("canary");
    expect(await ended(runId)).toMatchObject({ starts: ["launch.created"] });
    // It was not even offered to that one, so no second was lost over it
    expect((await probes.untilEvent(runId, "launch.created")).durationMs).toBeDefined();
    await removeAll();
  });

  it("when another run came at the same moment", async () => {
    const { first } = await idleRunner();
    const both = await Promise.all([probes.trigger("canary"), probes.trigger("canary")]);
    const [one, other] = await Promise.all(both.map(ended));
    expect([...(one?.starts ?? []), ...(other?.starts ?? [])].toSorted()).toEqual(["launch.created", "launch.warm"]);
    expect([one?.runner, other?.runner].filter((name) => name === first.runner)).toHaveLength(1);
    await removeAll();
  });
});

/** Takes down the link between a sandbox and this machine: no byte passes, no connection is told. */
async function cutOff(sandbox: InstanceView): Promise<void> {
  const { stdout } = await promisify(execFile)("ip", ["-o", "route", "get", String(sandbox.address)]);
  const device = / dev (\S+)/.exec(stdout)?.[1];
  if (device === undefined) throw new Error(`Cannot find the link of ${sandbox.address}: ${stdout}`);
  await promisify(execFile)("ip", ["link", "set", "dev", device, "down"]);
}
