import { closeSync, openSync, readdirSync, readFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { gateway, MACHINES } from "@torpor/contracts";
import { imageReference } from "@torpor/image";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { answered } from "./harness/answered.ts";
import type { Deployed } from "./harness/deployed.ts";
import { TestPlane } from "./harness/testPlane.ts";
import { until } from "./harness/until.ts";

interface Report {
  readonly environment: Readonly<Record<string, string>>;
  readonly draws: readonly (string | number)[];
  /** By it a platform takes a call for the repetition of another. */
  readonly requestKey: string;
  readonly options: readonly string[];
}

const CLONES = 4;
const CANARY = "canary-of-an-earlier-run-0815";
/** Each process of a run has its own. */
const OWN = ["TRIGGER_RUN_ID", "TRIGGER_MACHINE_ID", "TRIGGER_PROCESS_FORK_START_TIME", "TRIGGER_RUN_TOKEN", "TRIGGER_JWT"];

let plane: TestPlane;
let probes: Deployed;
/** What a run sees that was booted. */
let booted: Report;

beforeAll(async () => {
  plane = await TestPlane.start({ env: { TORPOR_GATEWAY_TEMPLATES: "on", TORPOR_GATEWAY_SPARES: "2" } });
  probes = await plane.deploy(inject("prepared").images.probes);
  booted = await report("launch.created");
});

afterAll(async () => {
  const left = await plane?.remove();
  expect(left ?? []).toEqual([]);
});

async function report(start: "launch.created" | "launch.cloned"): Promise<Report> {
  const runId = await probes.trigger("probe", { read: [CANARY] });
  expect(await probes.untilEnded(runId)).toMatchObject({ status: "COMPLETED", attemptCount: 1 });
  await probes.untilEvent(runId, start); // a node tells its lines a moment later
  expect((await probes.events(runId)).filter((name) => name.startsWith("launch."))).toEqual([start]);
  return (await probes.run(runId)).output as Report;
}

/** Waits until a clone waits for the next run. */
async function untilSpare(): Promise<void> {
  const look = async () => ((await answered(() => plane.gateway.call(gateway.node)))?.spares?.cloned === 1 ? true : undefined);
  await until("a clone waits", look);
}

const templatesDir = () => join(plane.dataDir, "gateway/templates");
const templates = () => readdirSync(templatesDir()).filter((name) => !name.includes("."));

/** Runs of the probes have the machine that tasks have when they say nothing. */
async function makeTemplate(): Promise<void> {
  const { cpu, memory } = MACHINES["small-1x"];
  const image = imageReference(inject("prepared").images.probes.image);
  const ask = () =>
    plane.gateway.call(gateway.createTemplate, { body: { image, machine_configs: [{ cpu, memory_gb: memory }] }, timeoutMs: 150_000 });
  expect((await answered(ask))?.error).toBeUndefined();
}

describe("a run whose image was booted before", () => {
  it("is a clone, with its own environment, which is what a booted one has, and nothing in common with other clones (L14, L17)", async () => {
    await makeTemplate();
    const all: Report[] = [];
    for (let count = 0; count < CLONES; count++) {
      if (count % 2 === 1) await untilSpare(); // one that was made ahead is like one that is made when it is asked for
      all.push(await report("launch.cloned"));
    }
    for (const { environment, options } of all) {
      expect(without(environment)).toEqual(without(booted.environment));
      expect(options).toEqual(booted.options);
    }
    for (const { requestKey } of all) expect(requestKey).toMatch(/^[0-9a-f-]{36}$/);
    const own = [booted, ...all].flatMap(({ environment, draws, requestKey }) => [environment["TRIGGER_MACHINE_ID"], requestKey, ...draws]);
    expect(new Set(own).size).toBe(own.length);
  });

  it("runs in the process that was forked ahead, sleeps and wakes like any other", async () => {
    const token = await probes.createToken();
    const runId = await probes.trigger("steps", { steps: [{ spinSeconds: 2 }, { token }] });
    await probes.untilLine(runId, "1:begin");
    const { id } = await probes.untilSandbox(runId, "running");
    const output = readFileSync(join(plane.dataDir, "gateway/gvisor/sandboxes", id, "output.log"), "utf8");
    expect(output.split("\n").filter((line) => line.startsWith("torpor:"))).toEqual([]);
    await probes.untilAsleep(runId);
    await probes.completeToken(token);
    expect(await probes.untilEnded(runId)).toMatchObject({ status: "COMPLETED", attemptCount: 1 });
    await probes.untilEvent(runId, "launch.cloned");
    expect(await probes.lines(runId)).toEqual({ "1:begin": 1, "1:after 0": 1, "1:after 1": 1 });
  });

  it("leaves no secret of its environment and nothing of its runs in the template", () => {
    const secrets = JSON.parse(readFileSync(join(plane.dataDir, "secrets.json"), "utf8")) as Record<string, unknown>;
    const words = [
      probes.apiKey,
      CANARY,
      ...Object.values(secrets).filter((value) => typeof value === "string" && value.length >= 16),
    ] as string[];
    expect(words.length).toBeGreaterThan(4);
    for (const key of templates()) {
      for (const name of readdirSync(join(templatesDir(), key))) {
        const bytes = readFileSync(join(templatesDir(), key, name));
        expect(words.filter((word) => bytes.includes(word) || bytes.includes(Buffer.from(word, "utf16le")))).toEqual([]);
      }
    }
  });

  it("boots when the template's files are damaged, and says why", async () => {
    for (const key of templates()) {
      const file = openSync(join(templatesDir(), key, "pages.img"), "r+");
      writeSync(file, Buffer.alloc(4_096, 0xa5), 0, 4_096, 1_000_000);
      closeSync(file);
    }
    let launched = "";
    // What was cloned before is as it was: it takes the first runs
    for (let count = 0; launched !== "launch.created"; count++) {
      expect(count).toBeLessThan(3);
      const runId = await probes.trigger("probe");
      expect(await probes.untilEnded(runId)).toMatchObject({ status: "COMPLETED", attemptCount: 1 });
      const event = await until("it was launched", async () =>
        (await probes.timeline(runId)).find(({ name }) => name.startsWith("launch.")),
      );
      launched = event.name;
      if (launched === "launch.created") expect(event).toMatchObject({ reason: "template_damaged" });
    }
  });

  it("boots when the gateway was killed while it made the template, of which nothing is left", async () => {
    const image = imageReference(inject("prepared").images.probes.image);
    const body = { image, machine_configs: [{ cpu: 1, memory_gb: 1 }], background: true };
    await answered(() => plane.gateway.call(gateway.createTemplate, { body }));
    const halfMade = await until("a template is being made", () => readdirSync(templatesDir()).find((name) => name.endsWith(".writing")));
    const { pid } = plane.plane.part("gateway");
    plane.plane.part("gateway").kill("SIGKILL");
    await until("the gateway is started again", () => (plane.plane.part("gateway").pid === pid ? undefined : true));
    const runId = await probes.trigger("probe");
    expect(await probes.untilEnded(runId)).toMatchObject({ status: "COMPLETED", attemptCount: 1 });
    expect(readdirSync(templatesDir())).not.toContain(halfMade);
  });
});

function without(environment: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !OWN.includes(name)));
}
