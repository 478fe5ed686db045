// Go and runsc are stubs on a PATH of their own.
import { chmod, cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ensureRunsc, parseVersion, releaseDate, type RunscOutcome } from "./runsc.ts";

const REPO = join(import.meta.dirname, "../../../..");
const PIN = "v0.0.0-20260905035102-160fafc42237";

/** Stands for Go: notes the call and writes a runsc of the version that it was told to stamp in. */
const GO = `#!/bin/sh
echo "$PWD $CGO_ENABLED $GOFLAGS $*" >>"$GO_CALLS"
[ -z "$GO_FAILS" ] || { echo "no such module" >&2; exit 3; }
while [ "$1" != -ldflags ]; do shift; done
version=\${2##*=}
while [ "$1" != -o ]; do shift; done
printf '#!/bin/sh\\necho "runsc version %s"\\n' "$version" >"$2"
chmod 755 "$2"
`;

let dir: string;
let lines: string[];

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "torpor-runsc-"));
  lines = [];
  await mkdir(join(dir, "bin"));
  await mkdir(join(dir, "repo/tools"), { recursive: true });
  await cp(join(REPO, "tools/runsc"), join(dir, "repo/tools/runsc"), { recursive: true });
});

afterEach(() => rm(dir, { recursive: true, force: true }));

async function install(name: string, content: string): Promise<string> {
  const path = join(dir, "bin", name);
  await writeFile(path, content);
  await chmod(path, 0o755);
  return path;
}

function runscOf(version: string): string {
  return `#!/bin/sh\necho "runsc version ${version}"\necho "spec: 1.2.1"\n`;
}

function ensure(env: NodeJS.ProcessEnv = {}, mayBuild = true): Promise<RunscOutcome> {
  const all = { PATH: `${join(dir, "bin")}:/usr/bin:/bin`, GO_CALLS: join(dir, "go-calls"), GO_FAILS: "", ...env };
  return ensureRunsc({
    repoDir: join(dir, "repo"),
    stateDir: join(dir, "state"),
    env: all,
    progress: (line) => lines.push(line),
    mayBuild,
  });
}

async function goCalls(): Promise<string[]> {
  const text = await readFile(join(dir, "go-calls"), "utf8").catch(() => "");
  return text.split("\n").filter((line) => line !== "");
}

describe("ensureRunsc", () => {
  it("says how to get gVisor or Go when there is neither", async () => {
    const outcome = await ensure({ PATH: join(dir, "bin") });
    expect(outcome).toMatchObject({ kind: "missing", reason: "no_go", hint: expect.stringMatching(/go\.dev.*gvisor\.dev/) });
  });

  it("names TORPOR_RUNSC and its value when it cannot be run, and does not look further", async () => {
    await install("runsc", runscOf("release-20270101.0"));
    const outcome = await ensure({ TORPOR_RUNSC: "/nowhere/runsc" });
    expect(outcome).toMatchObject({
      kind: "missing",
      reason: "configured_unusable",
      message: expect.stringContaining("TORPOR_RUNSC is /nowhere/runsc"),
    });
  });

  it("refuses a configured runsc that is too old, naming its version", async () => {
    const path = await install("old", runscOf("release-20221107.0"));
    expect(await ensure({ TORPOR_RUNSC: path })).toMatchObject({
      kind: "missing",
      message: expect.stringContaining("release-20221107.0 is too old"),
    });
  });

  it("hands on what Go said when the build fails, and leaves nothing half built", async () => {
    await install("go", GO);
    const outcome = await ensure({ GO_FAILS: "1" });
    expect(outcome).toMatchObject({ kind: "missing", reason: "build_failed", hint: expect.stringContaining("no such module") });
    expect(await readdir(join(dir, "state/bin"))).toEqual([]);
  });

  it("does not build when it may only look", async () => {
    await install("go", GO);
    expect(await ensure({}, false)).toMatchObject({ kind: "missing", reason: "not_built" });
    expect(await goCalls()).toEqual([]);
  });

  it("prefers the configured one to a recent one on PATH", async () => {
    await install("runsc", runscOf("release-20270101.0"));
    const path = await install("mine", runscOf("release-20260901.0"));
    expect(await ensure({ TORPOR_RUNSC: path })).toEqual({ kind: "ready", path, version: "release-20260901.0", origin: "configured" });
  });

  it("takes a recent one on PATH without building", async () => {
    const path = await install("runsc", runscOf("release-20270101.0"));
    expect(await ensure()).toEqual({ kind: "ready", path, version: "release-20270101.0", origin: "path" });
  });

  it("builds when the one on PATH is too old, with the pinned version stamped in", async () => {
    await install("runsc", runscOf("release-20221107.0"));
    await install("go", GO);
    expect(await ensure()).toEqual({ kind: "ready", path: join(dir, "state/bin/runsc"), version: PIN, origin: "built" });
    expect((await goCalls())[0]).toContain(`${join(dir, "repo/tools/runsc")} 0 -mod=readonly build`);
    expect(lines[0]).toContain(`Building gVisor's runsc ${PIN}`);
  });

  it("builds once, also for two at once, and again when the pin has moved", async () => {
    await install("go", GO);
    const both = await Promise.all([ensure(), ensure()]);
    expect(both.map(({ kind }) => kind)).toEqual(["ready", "ready"]);
    expect(await ensure()).toMatchObject({ kind: "ready", origin: "built" });
    expect(await goCalls()).toHaveLength(1);
    const goMod = join(dir, "repo/tools/runsc/go.mod");
    const next = "v0.0.0-20270101000000-aaaaaaaaaaaa";
    await writeFile(goMod, (await readFile(goMod, "utf8")).replace(PIN, next));
    expect(await ensure()).toMatchObject({ kind: "ready", version: next });
  });

  it("takes over the lock of a build that died", async () => {
    await install("go", GO);
    await mkdir(join(dir, "state/bin"), { recursive: true });
    await writeFile(join(dir, "state/bin/runsc.lock"), "99999999");
    expect(await ensure()).toMatchObject({ kind: "ready" });
  });

  it("pins a release that is recent enough, and its hash", async () => {
    expect(releaseDate(PIN)).toBe(20260905);
    expect(await readFile(join(REPO, "tools/runsc/go.sum"), "utf8")).toContain(`gvisor.dev/gvisor ${PIN} h1:`);
  });
});

describe("runsc's version", () => {
  it("is read from releases and from module versions, and not from a build without a stamp", () => {
    expect(parseVersion("runsc version release-20260901.0\nspec: 1.2.1\n")).toBe("release-20260901.0");
    expect(parseVersion("something else")).toBeUndefined();
    expect(releaseDate("release-20260901.0")).toBe(20260901);
    expect(releaseDate("release-20260901.0-12-gabcdef012345")).toBe(20260901);
    expect(releaseDate("VERSION_MISSING")).toBeUndefined();
  });
});
