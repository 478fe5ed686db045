import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { installPackages, runBuildCommand } from "./install.ts";

describe("installing what stays outside the bundle", () => {
  let dir: string;

  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "torpor-install-"));
  });

  afterEach(() => rm(dir, { recursive: true, force: true }));

  it("hands on what npm said when a package is not there", async () => {
    await writeFile(join(dir, "package.json"), JSON.stringify({ name: "x", dependencies: { absent: "file:./absent.tgz" } }));
    const error = await installPackages(dir, () => {});
    expect(error).toMatchObject({ kind: "install_failed", hint: expect.stringContaining("npm error") });
  });

  it("names the build command that failed, its exit code and what it said", async () => {
    const lines: string[] = [];
    const error = await runBuildCommand("echo generating; echo no schema >&2; exit 4", dir, (line) => lines.push(line));
    expect(error).toMatchObject({
      kind: "build_failed",
      message: expect.stringContaining("ended with exit code 4"),
      hint: expect.stringContaining("no schema"),
    });
    expect(lines).toContain("generating");
  });
});
