import { fork, spawnSync } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { firstMisfit, parseEnvironment } from "./environment.ts";
import { importsOf } from "./modules.ts";
import type { Finding } from "./protocol.ts";

describe("a clone's environment", () => {
  const TEMPLATE = { PATH: "/bin", NODE_OPTIONS: "--max-old-space-size=400" };

  it.each<[string, Record<string, string>, Record<string, string | null>, string | undefined]>([
    ["fits when only what nobody has read is new", { ...TEMPLATE, API_KEY: "1" }, { DEBUG: null }, undefined],
    ["fits when what was read is as it was", { ...TEMPLATE, NODE_ENV: "production" }, { PATH: "/bin" }, "NODE_ENV"],
    ["does not fit when a variable that was read is set", { ...TEMPLATE, DEBUG: "*" }, { DEBUG: null }, "DEBUG"],
    ["does not fit when a variable that was read is another", TEMPLATE, { PATH: "/usr/bin" }, "PATH"],
    ["does not fit when Node would have had to start with it", { ...TEMPLATE, NODE_EXTRA_CA_CERTS: "/ca.pem" }, {}, "NODE_EXTRA_CA_CERTS"],
    ["does not fit when Node has started with what it lacks", { PATH: "/bin" }, {}, "NODE_OPTIONS"],
    [
      "does not fit when a name that was looked for among all is set",
      { ...TEMPLATE, DEBUG_COLORS: "1" },
      { "^debug_": null },
      "DEBUG_COLORS",
    ],
    ["fits when the channel to its parent is another", { ...TEMPLATE, NODE_CHANNEL_FD: "3" }, {}, undefined],
  ])("%s", (_what, env, reads, misfit) => {
    expect(firstMisfit(TEMPLATE, env, reads)).toBe(misfit);
  });

  it("is read with values that hold an equals sign, are empty, or have several lines", () => {
    expect(parseEnvironment("A=1=2\0B=\0C=x\ny\0\0")).toEqual({ A: "1=2", B: "", C: "x\ny" });
  });
});

describe("the modules that are imported ahead", () => {
  let dir: string;

  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "torpor-hook-"));
  });

  afterEach(() => rm(dir, { recursive: true, force: true }));

  const write = async (files: Record<string, string>): Promise<void> => {
    for (const [name, text] of Object.entries(files)) await writeFile(join(dir, name), text);
  };

  /** What the scout finds about files, by name. */
  async function scout(names: readonly string[], env: Record<string, string> = {}): Promise<Record<string, Omit<Finding, "file">>> {
    const files = names.map((name) => join(dir, name));
    const child = fork(new URL("./scout.ts", import.meta.url), files, { env, execArgv: [], stdio: ["ignore", "ignore", "pipe", "ipc"] });
    const findings = await new Promise<Finding[]>((resolve, reject) => {
      child.once("message", (message) => resolve(message as Finding[]));
      child.once("exit", (code) => reject(new Error(`the scout ended with ${code}: ${String(child.stderr?.read())}`)));
    });
    return Object.fromEntries(findings.map(({ file, ...finding }) => [file.slice(dir.length + 1), finding]));
  }

  it("come in the order in which they need each other, without the entry point, without what it imports later, and each once", async () => {
    await write({
      "entry.mjs":
        'import { a } from "./a.mjs";\nimport "./b.mjs";\nimport {\n  c\n} from "./c.mjs";\nconst later = () => import("./later.mjs");\n',
      "a.mjs": 'import "./b.mjs";\nimport { x } from "node:fs";\n',
      "b.mjs": 'import "./c.mjs";\n',
      "c.mjs": 'import "./a.mjs";\n',
    });
    expect(importsOf(join(dir, "entry.mjs"))).toEqual(["c.mjs", "b.mjs", "a.mjs"].map((name) => join(dir, name)));
  });

  it("of an entry point that is not there are none", () => {
    expect(importsOf(join(dir, "nothing.mjs"))).toEqual([]);
  });

  it.each([
    ["draws a random number", 'import { randomBytes } from "node:crypto";\nexport const id = randomBytes(4);\n'],
    ["draws one of the web's", "export const id = crypto.randomUUID();\n"],
    ["calls Math.random", "export const id = Math.random();\n"],
    ["copies the whole environment", "export const env = { ...process.env };\n"],
    ["cannot be imported", "throw new Error('no');\n"],
  ])("are not those that one of them %s, nor what needs it", async (_what, text) => {
    await write({ "bad.mjs": text, "needs.mjs": 'import "./bad.mjs";\n', "good.mjs": "export const one = 1;\n" });
    const found = await scout(["bad.mjs", "needs.mjs", "good.mjs"]);
    expect([found["bad.mjs"]?.unsafe, found["needs.mjs"]?.unsafe, found["good.mjs"]?.unsafe]).toEqual([
      expect.any(String),
      expect.stringContaining("bad.mjs"),
      null,
    ]);
  });

  it("are noted with the variables that they read, and what they saw", async () => {
    await write({ "reads.mjs": 'export const a = process.env.A ?? "none";\nexport const b = "B" in process.env;\n' });
    expect((await scout(["reads.mjs"], { A: "1" }))["reads.mjs"]).toMatchObject({ reads: { A: "1", B: null }, unsafe: null });
  });

  it("may take the SDK's machine id, which is taken later in each clone", async () => {
    const text =
      "const getEnvVar = (name) => process.env[name];\nconst generateFriendlyId = () => String(Math.random());\n" +
      'var machineId = getEnvVar("TRIGGER_MACHINE_ID") ?? generateFriendlyId("machine");\nexport { machineId };\n';
    await write({ "sdk.mjs": text });
    expect((await scout(["sdk.mjs"]))["sdk.mjs"]).toMatchObject({
      unsafe: null,
      reads: expect.not.objectContaining({ TRIGGER_MACHINE_ID: null }) as object,
    });
  });
});

describe("contexts that a task makes", () => {
  it("draw their random numbers from the process's own, however they are made, and keep their other options", () => {
    const program = `
      const vm = require("node:vm");
      const { mendNewContexts } = require(${JSON.stringify(new URL("./contexts.ts", import.meta.url).pathname)});
      let count = 0;
      mendNewContexts(() => ++count);
      const context = vm.createContext({ a: 1 }, { name: "mine" });
      const draws = [
        vm.runInContext("Math.random()", context),
        vm.runInNewContext("Math.random() + a", { a: 100 }),
        new vm.Script("Math.random()").runInNewContext({}, { contextCodeGeneration: { strings: true } }),
        vm.createContext(context) === context && vm.runInContext("Math.random() * a", context),
        vm.runInContext("Math.random()", vm.createContext(vm.constants.DONT_CONTEXTIFY)) < 1,
      ];
      let refused;
      try { vm.runInNewContext('eval("1")', {}, { contextCodeGeneration: { strings: false } }); } catch (error) { refused = error.name; }
      console.log(JSON.stringify({ draws, refused }));`;
    const { stdout, stderr } = spawnSync(process.execPath, ["--no-warnings", "--eval", program], { env: {}, encoding: "utf8" });
    expect(stderr).toBe("");
    expect(JSON.parse(stdout)).toEqual({ draws: [1, 102, 3, 4, true], refused: "EvalError" });
  });
});
