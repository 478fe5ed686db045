// Real builds with the project's own CLI. Each takes seconds, so that one build is looked at by many tests.
import { spawn } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, stat, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { TASK_USER } from "./base/etc.ts";
import { buildImage, type BuildOutcome } from "./buildImage.ts";
import { imageReference, type StoredImage } from "./image.ts";
import { installApp } from "./installApp.ts";
import { imagesDir } from "./layout.ts";
import { findImage, verifyImage } from "./store.ts";
import { CONFIG, goodProject, makeProject, taskFile, type TemporaryProject } from "./testing/projects.ts";

const NAP = join(import.meta.dirname, "../../../examples/nap");
const isRoot = process.getuid?.() === 0;

vi.setConfig({ testTimeout: 180_000 }); // a build takes seconds, on a busy machine half a minute

let stateDir: string;
let project: TemporaryProject | undefined;

beforeAll(async () => {
  stateDir = await mkdtemp(join(tmpdir(), "torpor-images-"));
});

afterAll(() => rm(stateDir, { recursive: true, force: true }));

afterEach(async () => {
  await project?.remove();
  project = undefined;
});

async function build(files: Record<string, string>): Promise<BuildOutcome> {
  project = await makeProject(files);
  return await buildImage({ projectDir: project.dir, stateDir, progress: () => {} });
}

function built(outcome: BuildOutcome): StoredImage {
  if (outcome.kind !== "built") throw new Error(`Expected an image, got: ${JSON.stringify(outcome.error)}`);
  return outcome.stored;
}

async function workLeftBehind(projectDir: string): Promise<string[]> {
  const inState = (await readdir(imagesDir(stateDir))).filter((name) => name.startsWith(".tmp-"));
  const inProject = (await readdir(projectDir)).filter((name) => name === ".trigger");
  return [...inState, ...inProject];
}

interface Ended {
  code: number | null;
  output: string;
}

function run(command: string, args: string[], options: { cwd?: string; env?: NodeJS.ProcessEnv } = {}): Promise<Ended> {
  const { promise, resolve, reject } = Promise.withResolvers<Ended>();
  const child = spawn(command, args, { env: {}, ...options, stdio: ["ignore", "pipe", "pipe"], timeout: 20_000 });
  let output = "";
  child.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (output += chunk.toString()));
  child.once("error", reject);
  child.once("close", (code) => resolve({ code, output }));
  return promise;
}

function bad(content: string): Record<string, string> {
  return { ...goodProject(), "src/trigger/bad.ts": content };
}

function config(content: string): Record<string, string> {
  return { ...goodProject(), "trigger.config.ts": content };
}

describe("a project with an error", () => {
  const { "src/trigger/greet.ts": _greet, ...withoutTasks } = goodProject();
  const { "package-lock.json": _lock, ...withoutLockFile } = goodProject();
  const extension = `{ name: "apt", onBuildComplete(c) { c.addLayer({ id: "apt", image: { pkgs: ["ffmpeg"] } }); } }`;

  it.each<[what: string, files: Record<string, string>, kind: string, places: Record<string, unknown>[]]>([
    [
      "a syntax error in its config",
      config('export default {\n  project: "x"\n  maxDuration: 3 };\n'),
      "config_invalid",
      [{ file: "trigger.config.ts", line: 3 }],
    ],
    ["a config that throws", config("const a: any = undefined;\n\nexport default { project: a.b };\n"), "config_invalid", [{ line: 3 }]],
    ["no maxDuration", config('export default { project: "p" };\n'), "config_invalid", [{ file: "trigger.config.ts" }]],
    ["no project ref", config("export default { maxDuration: 60 };\n"), "config_invalid", [{ file: "trigger.config.ts" }]],
    [
      "a runtime that is not Node",
      config('export default { project: "p", runtime: "bun", maxDuration: 60 };\n'),
      "config_invalid",
      [{ file: "trigger.config.ts" }],
    ],
    [
      "system packages that need a container engine",
      config(CONFIG.replace("dirs:", `build: { extensions: [${extension}] }, dirs:`)),
      "feature_unsupported",
      [{ file: "trigger.config.ts" }],
    ],
    ["no lock file", withoutLockFile, "lockfile_missing", []],
    [
      "a syntax error in a task file",
      bad("export const a = 1;\nexport const b = ;\n"),
      "build_failed",
      [{ file: "src/trigger/bad.ts", line: 2, column: 18 }],
    ],
    [
      "an import that leads nowhere",
      bad('import x from "./nowhere";\nexport const b = x;\n'),
      "build_failed",
      [{ file: "src/trigger/bad.ts", line: 1 }],
    ],
    [
      "a task file that throws at import",
      bad('export const a = 1;\n\nthrow new Error("no DATABASE_URL");\n'),
      "import_failed",
      [{ file: "src/trigger/bad.ts", line: 3, message: "no DATABASE_URL" }],
    ],
    ["a task file that ends the process at import", bad("process.exit(3);\nexport const a = 1;\n"), "import_failed", []],
    [
      "two tasks with one id",
      bad(`\n${taskFile("greet")}`),
      "task_id_taken",
      [
        { file: "src/trigger/bad.ts", line: 5 },
        { file: "src/trigger/greet.ts", line: 4 },
      ],
    ],
    [
      "a task with settings that nobody knows",
      bad(taskFile("huge").replace("id:", 'machine: "huge" as never, id:')),
      "task_invalid",
      [{ file: "src/trigger/bad.ts", line: 4 }],
    ],
    ["no task files", withoutTasks, "no_tasks", [{ file: "trigger.config.ts" }]],
    [
      "task files without a task",
      { ...withoutTasks, "src/trigger/a.ts": "export const a = 1;\n" },
      "no_tasks",
      [{ file: "trigger.config.ts" }],
    ],
  ])("%s: is told so with file and line, and nothing is changed", async (_, files, kind, places) => {
    const outcome = await build(files);
    if (outcome.kind !== "rejected") throw new Error(`Expected ${kind}, got an image`);
    expect(outcome.error.kind).toBe(kind);
    expect(outcome.error.places).toMatchObject(places);
    expect(await workLeftBehind(project!.dir)).toEqual([]);
    expect((await readdir(imagesDir(stateDir))).filter((name) => name.startsWith("sha256-"))).toEqual([]);
  });
});

describe("a build", () => {
  it("that is aborted leaves nothing behind", async () => {
    project = await makeProject(goodProject());
    const controller = new AbortController();
    const progress = (line: string): void => void (line.startsWith("Bundling") && controller.abort());
    await expect(buildImage({ projectDir: project.dir, stateDir, progress, signal: controller.signal })).rejects.toThrow(/abort/i);
    expect(await workLeftBehind(project.dir)).toEqual([]);
  });

  it("of the same content at another time has the same digest, and runs the commands of build extensions", async () => {
    const extension = `{ name: "c", onBuildComplete(c) { c.addLayer({ id: "c", commands: ["echo made > made.txt"] }); } }`;
    const files = { ...goodProject(), "trigger.config.ts": CONFIG.replace("dirs:", `build: { extensions: [${extension}] }, dirs:`) };
    const first = built(await build(files));
    const touched = Object.keys(files).map((name) => utimes(join(project!.dir, name), 1, 1));
    await Promise.all(touched);
    const second = await buildImage({ projectDir: project!.dir, stateDir, progress: () => {} });
    expect(second).toMatchObject({ kind: "built", alreadyThere: true, stored: { image: { digest: first.image.digest } } });
    expect(await readFile(join(first.rootfs, "app/made.txt"), "utf8")).toBe("made\n");
  });
});

describe("the image of examples/nap", () => {
  let nap: StoredImage;
  let outcomes: BuildOutcome[];
  const lines: string[] = [];

  beforeAll(async () => {
    const options = { projectDir: NAP, stateDir, progress: (line: string) => void lines.push(line) };
    outcomes = await Promise.all([buildImage(options), buildImage(options)]);
    nap = built(outcomes[0]!);
  });

  it("is one image when it is built twice at once, and is intact", async () => {
    expect(built(outcomes[1]!).image.digest).toBe(nap.image.digest);
    expect(outcomes.filter((outcome) => outcome.kind === "built" && !outcome.alreadyThere)).toHaveLength(1);
    expect(await verifyImage(nap)).toEqual({ kind: "intact" });
    expect(await workLeftBehind(NAP)).toEqual([]);
  });

  it("names the steps while it is built", () => {
    expect(lines).toContain("Bundling the tasks");
    expect(lines.some((line) => line.startsWith("Installing what stays outside the bundle: import-in-the-middle@"))).toBe(true);
  });

  it("is found by the reference that a deployment stores", async () => {
    expect(await findImage(stateDir, imageReference(nap.image))).toMatchObject({ kind: "found", stored: { dir: nap.dir } });
  });

  it("lists every task with file, retry and maxDuration", () => {
    const tasks = nap.image.workerManifest.tasks;
    const ids = ["cancelled", "child", "crash", "flaky", "hello", "nap", "oom", "parent", "spin", "token"];
    expect(tasks.map(({ id }) => id).toSorted()).toEqual(ids);
    expect(tasks.find(({ id }) => id === "flaky")).toMatchObject({
      filePath: "src/trigger/flaky.ts",
      maxDuration: 3600,
      retry: { maxAttempts: 3 },
    });
  });

  it("says what a platform needs to know of it", () => {
    const { backgroundWorker, projectRef, contentHash, run: start } = nap.image;
    expect(projectRef).toBe("proj_nap");
    expect(backgroundWorker).toMatchObject({ contentHash, cliPackageVersion: "4.8.3", packageVersion: "4.8.3", runtime: "node-24" });
    expect(backgroundWorker.sourceFiles).toContainEqual(expect.objectContaining({ filePath: "src/trigger/token.ts", taskIds: ["token"] }));
    expect(start.env).toMatchObject({ TRIGGER_CONTENT_HASH: contentHash, TRIGGER_PROJECT_REF: "proj_nap", NODE_ENV: "production" });
  });

  it("names no folder of the host in any manifest, and keeps no timings", async () => {
    const texts = ["app/build.json", "app/index.json", "../image.json"].map((name) => readFile(join(nap.rootfs, name), "utf8"));
    for (const text of await Promise.all(texts)) {
      expect(text).not.toContain(stateDir);
      expect(text).not.toContain(join(NAP, "../.."));
      expect(text).not.toContain('"timings"');
    }
  });

  it("shares Node with its base instead of copying it", async () => {
    const node = await stat(join(nap.rootfs, "usr/local/bin/node"));
    expect(node.nlink).toBeGreaterThan(1);
  });

  it("lets the task's user write in the app and at home, and nowhere else", async () => {
    const owner = async (path: string): Promise<number> => (await stat(join(nap.rootfs, path))).uid;
    const taskUid = isRoot ? TASK_USER.uid : process.getuid!();
    for (const path of ["app", "app/index.json", "app/node_modules", "home/task"]) expect(await owner(path)).toBe(taskUid);
    for (const path of ["", "etc", "usr/local/bin/node"]) expect(await owner(path)).toBe(isRoot ? 0 : taskUid);
    expect((await stat(join(nap.rootfs, "tmp"))).mode & 0o7777).toBe(0o1777);
  });

  it("holds a runner that starts outside a sandbox too, and asks for its environment", async () => {
    const app = await installApp(nap, join(stateDir, "installed"));
    const ended = await run(process.execPath, [app.controller], { cwd: app.dir, env: { PATH: process.env["PATH"] } });
    expect(ended.code).toBe(1);
    expect(ended.output).toContain("TRIGGER_DEPLOYMENT_ID");
    const index = await readFile(join(app.dir, "index.json"), "utf8");
    expect(index).not.toContain('"/app/');
  });

  it.runIf(isRoot)("(as root) runs by itself: Node, TLS certificates, host names, its user and its runner", async () => {
    const script = `
      const { lookup } = require("node:dns/promises");
      const tls = require("node:tls");
      const file = require("node:fs").readFileSync("/etc/ssl/certs/ca-certificates.crt", "utf8");
      tls.createSecureContext({ ca: file });
      lookup("localhost").then(({ address }) =>
        console.log(JSON.stringify([process.version, address, file.split("BEGIN CERT").length > 50, require("node:os").userInfo()])));`;
    const inside = (args: string[]): Promise<Ended> => run("/usr/sbin/chroot", ["--userspec=1000:1000", nap.rootfs, ...args]);
    const ended = await inside([nap.image.run.args[0]!, "-e", script]);
    expect(JSON.parse(ended.output)).toMatchObject([
      nap.image.base.nodeVersion,
      "127.0.0.1",
      true,
      { username: "task", homedir: "/home/task" },
    ]);
  });

  it("is seen to be damaged when one of its files changes", async () => {
    const file = join(nap.rootfs, "app/index.json");
    const content = await readFile(file, "utf8");
    await writeFile(file, content.replace("flaky", "flakY"));
    expect(await verifyImage(nap)).toMatchObject({ kind: "damaged", expected: nap.image.digest });
    await writeFile(file, content);
  });
});
