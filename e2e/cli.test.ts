import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { cli, cliJson } from "./harness/cli.ts";
import type { Deployed } from "./harness/deployed.ts";
import { REPO_DIR } from "./harness/paths.ts";
import { TestPlane } from "./harness/testPlane.ts";

const COMMANDS = [
  "demo",
  "up",
  "status",
  "deploy",
  "trigger",
  "runs list",
  "runs show",
  "runs cancel",
  "tokens list",
  "tokens complete",
  "doctor",
  "clean",
  "check",
  "test",
  "bench",
  "platform",
  "supervisor",
  "gateway",
  "warmstart",
  "node",
];

let plane: TestPlane;
let nap: Deployed;
let scratchDir: string;
let emptyDir: string;

/** Words of a command, with the plane that it is about. */
function here(...words: string[]): string[] {
  return [...words, "--data-dir", plane.dataDir];
}

beforeAll(async () => {
  scratchDir = mkdtempSync(join(tmpdir(), "torpor-e2e-"));
  emptyDir = join(scratchDir, "empty");
  mkdirSync(emptyDir);
  plane = await TestPlane.start({ asProcess: true });
  const deployed = await cliJson(["deploy", join(REPO_DIR, "examples/nap"), "--data-dir", plane.dataDir]);
  expect(deployed).toMatchObject({
    code: 0,
    json: {
      projectRef: "proj_nap",
      version: expect.stringMatching(/^\d{8}\.\d+$/) as string,
      tasks: expect.arrayContaining(["nap", "hello"]) as string[],
    },
  });
  nap = await plane.attach("proj_nap");
});

afterAll(async () => {
  await plane?.remove();
  rmSync(scratchDir, { recursive: true, force: true });
});

/** A project like examples/nap, with one file of its own. */
function project(name: string, file: string, content: string): string {
  const dir = join(scratchDir, name);
  cpSync(join(REPO_DIR, "examples/nap"), dir, { recursive: true, filter: (from) => !/node_modules|\.trigger$/.test(from) });
  mkdirSync(join(dir, "src/trigger"), { recursive: true });
  writeFileSync(join(dir, file), content);
  symlinkSync(join(REPO_DIR, "node_modules"), join(dir, "node_modules"));
  cpSync(join(REPO_DIR, "package-lock.json"), join(dir, "package-lock.json"));
  return dir;
}

describe("a command that cannot do what it is asked", () => {
  it("says how to start a plane when there is none, and exits with 3", async () => {
    for (const words of [["status"], ["runs", "list"], ["trigger", "hello"], ["deploy", "examples/nap"]]) {
      const { code, err } = await cli([...words, "--data-dir", emptyDir]);
      expect(code).toBe(3);
      expect(err).toContain("./torpor up");
    }
  });

  it("names the task, run or token that does not exist, and exits with 4", async () => {
    for (const words of [
      ["trigger", "no-such-task"],
      ["runs", "show", "run_nosuchrun"],
      ["runs", "cancel", "run_nosuchrun"],
      ["tokens", "complete", "waitpoint_nosuchtoken"],
    ]) {
      const { code, err } = await cli(here(...words));
      expect(err).toContain(words.at(-1));
      expect(code).toBe(4);
    }
  });

  it("says what is wrong with the command line, and exits with 2", async () => {
    for (const words of [
      ["no-such-command"],
      ["trigger"],
      here("trigger", "hello", "--payload", "{no json"),
      here("status", "--no-such-option"),
    ]) {
      const { code, err } = await cli(words);
      expect(code).toBe(2);
      expect(err).not.toBe("");
    }
  });

  it("answers its failure as JSON when JSON is asked for", async () => {
    expect(await cliJson(["status", "--data-dir", emptyDir])).toMatchObject({
      code: 3,
      json: { error: expect.stringContaining("Cannot find a running plane") as string, exitCode: 3 },
    });
  });

  it("is not started twice on one data folder, and exits with 6", async () => {
    const { code, err } = await cli(here("up", "--no-install"));
    expect(code).toBe(6);
    expect(err).toContain(String(plane.process.child.pid));
  });

  it("does not clean what runs, and exits with 6", async () => {
    expect(await cli(here("clean", "--data"))).toMatchObject({ code: 6 });
    expect(await cliJson(here("status"))).toMatchObject({ code: 0 });
  });
});

describe("a project that cannot be deployed", () => {
  it("is told its own error with file and line, and the version that was there stays current", async () => {
    const dir = project(
      "throws",
      "src/trigger/throws.ts",
      `import { task } from "@trigger.dev/sdk";\n\nthrow new Error("no such setting");\nexport const never = task({ id: "never", run: async () => {} });\n`,
    );
    const { code, err } = await cli(here("deploy", dir));
    expect(code).toBe(1);
    expect(err).toContain("no such setting");
    expect(err).toMatch(/src\/trigger\/throws\.ts:3/);
    expect(await cli(here("trigger", "never"))).toMatchObject({ code: 4 });
    expect(await cli(here("trigger", "hello", "--wait"))).toMatchObject({ code: 0 });
  });

  it("is told which two tasks have the same id", async () => {
    const dir = project(
      "twins",
      "src/trigger/twins.ts",
      `import { task } from "@trigger.dev/sdk";\n\nexport const twin = task({ id: "hello", run: async () => {} });\n`,
    );
    const { code, err } = await cli(here("deploy", dir));
    expect(code).toBe(1);
    expect(err).toContain("hello");
    expect(err).toContain("src/trigger/twins.ts");
    expect(err).toContain("src/trigger/small.ts");
  });

  it("is told that it has no configuration", async () => {
    const { code, err } = await cli(here("deploy", emptyDir));
    expect(code).toBe(1);
    expect(err).toContain("trigger.config.ts");
  });
});

describe.concurrent("the commands of a plane", () => {
  it("each say what they do, with their options and exit codes", async () => {
    const helps = await Promise.all(COMMANDS.map((command) => cli([...command.split(" "), "--help"])));
    for (const [index, { code, out }] of helps.entries()) {
      expect(code).toBe(0);
      expect(out).toContain(`torpor ${COMMANDS[index]}`);
      expect(out).toContain("Exit codes:");
    }
  });

  it("tell what the plane does and which keys its users need", async () => {
    const { code, json } = await cliJson(here("status", "--keys"));
    expect(code).toBe(0);
    expect(json).toMatchObject({
      runs: { queued: expect.any(Number) as number },
      sandboxes: expect.any(Array) as unknown[],
      memoryImages: { count: expect.any(Number) as number },
      machine: { driver: "gvisor", canSnapshot: true },
    });
    expect(json).toMatchObject({ keys: expect.arrayContaining([{ slug: "prod", apiKey: nap.apiKey }]) as unknown[] });
  });

  it("trigger a task, wait for it, and exit with 0 when it succeeds", async () => {
    expect(await cliJson(here("trigger", "hello", "--payload", '{"a":[1,null]}', "--wait"))).toMatchObject({
      code: 0,
      json: { status: "COMPLETED", output: { payload: { a: [1, null] } } },
    });
  });

  it("exit with 1 when the run that they wait for fails, and show its error", async () => {
    const { code, out } = await cli(here("trigger", "crash", "--payload", '{"exitCode":7}', "--wait"));
    expect(code).toBe(1);
    expect(out).toContain("CRASHED");
    expect(out).toContain("7");
  });

  it("list runs, show one with its timeline, and cancel it", async () => {
    const { json } = await cliJson(here("trigger", "spin", "--payload", '{"seconds":120}'));
    const { id } = json as { id: string };
    await nap.untilEvent(id, "EXECUTING");
    expect(await cliJson(here("runs", "list", "--task", "spin"))).toMatchObject({
      code: 0,
      json: [{ id, taskIdentifier: "spin", isExecuting: true }],
    });
    expect(await cliJson(here("runs", "cancel", id))).toMatchObject({ code: 0, json: { id } });
    expect(await nap.untilEnded(id)).toMatchObject({ status: "CANCELED" });
    const shown = await cliJson(here("runs", "show", id));
    expect(shown).toMatchObject({ code: 0, json: { id, status: "CANCELED" } });
    expect((shown.json as { timeline: { name: string }[] }).timeline.map(({ name }) => name)).toEqual(
      expect.arrayContaining(["QUEUED", "PENDING_EXECUTING", "EXECUTING", "PENDING_CANCEL", "FINISHED"]),
    );
  });

  it("list tokens and complete one, which wakes the run that waits for it", async () => {
    const runId = await nap.trigger("token");
    const token = await nap.tokenOf(runId);
    expect(await cliJson(here("tokens", "list", "--tag", `run:${runId}`))).toMatchObject({
      code: 0,
      json: [{ id: token, status: "WAITING" }],
    });
    expect(await cliJson(here("tokens", "complete", token, "--data", '{"answer":42}'))).toMatchObject({ code: 0, json: { id: token } });
    expect(await nap.untilEnded(runId)).toMatchObject({ status: "COMPLETED", output: { data: { answer: 42 } } });
  });

  it("say that this machine can run sandboxes, and what is missing when runsc is", async () => {
    expect(await cliJson(["doctor"])).toMatchObject({ code: 0, json: { driver: "gvisor", missing: [] } });
    const { code, json } = await cliJson(["doctor"], { TORPOR_RUNSC: join(emptyDir, "runsc") });
    expect(code).toBe(5);
    expect(json).toMatchObject({
      driver: "process",
      missing: [{ message: expect.stringContaining("runsc") as string, hint: expect.stringMatching(/./) as string }],
    });
  });
});

describe("two planes on one machine", () => {
  it("run side by side, each with its own runs, and one without sandboxes says so in a line", async () => {
    const second = await TestPlane.start({ asProcess: true, driver: "process" });
    try {
      expect(second.process.output().err).toMatch(/plain processes.*waits stay in memory/);
      expect(second.apiUrl).not.toBe(plane.apiUrl);
      const theirs = await second.deploy(inject("prepared").images.nap);
      const [here, there] = [await nap.trigger("hello", "first"), await theirs.trigger("hello", "second")];
      expect(await nap.untilEnded(here)).toMatchObject({ output: { payload: "first" } });
      expect(await theirs.untilEnded(there)).toMatchObject({ output: { payload: "second" } });
      await expect(nap.run(there)).rejects.toThrow("404");
    } finally {
      expect(await second.remove()).toEqual([]);
    }
  });
});
