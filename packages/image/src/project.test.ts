import { afterEach, describe, expect, it } from "vitest";
import { checkVersions, inspectProject, type ProjectOutcome } from "./project.ts";
import { goodProject, makeProject, type TemporaryProject } from "./testing/projects.ts";

const both = (sdk: string, cli = sdk) => ({ "@trigger.dev/sdk": sdk, "trigger.dev": cli });

describe("inspectProject", () => {
  let project: TemporaryProject | undefined;

  afterEach(() => project?.remove());

  async function inspect(files: Record<string, string>, packages: Record<string, string>): Promise<ProjectOutcome> {
    project = await makeProject(files, packages);
    return await inspectProject(project.dir);
  }

  it("names the folder that has no trigger.config.ts", async () => {
    const { "trigger.config.ts": _, ...files } = goodProject();
    const outcome = await inspect(files, both("4.8.3"));
    expect(outcome).toMatchObject({ error: { kind: "config_missing", message: expect.stringContaining(project!.dir) } });
  });

  it("says how to install a missing SDK, and a missing CLI", async () => {
    expect(await inspect(goodProject(), {})).toMatchObject({
      error: { kind: "sdk_missing", hint: expect.stringContaining("npm install") },
    });
    await project?.remove();
    const outcome = await inspect(goodProject(), { "@trigger.dev/sdk": "4.8.3" });
    expect(outcome).toMatchObject({ error: { kind: "cli_missing", hint: expect.stringContaining("npm install --save-dev trigger.dev@") } });
  });

  it("refuses a version that it does not know, naming it and those that it knows", async () => {
    const outcome = await inspect(goodProject(), both("3.3.17"));
    expect(outcome).toMatchObject({ error: { kind: "version_unsupported", message: "@trigger.dev/sdk 3.3.17 is not supported" } });
    expect(outcome).toMatchObject({ error: { hint: expect.stringContaining("4.8.x") } });
  });

  it("finds the project's own CLI", async () => {
    const outcome = await inspect(goodProject(), both("4.8.3"));
    expect(outcome).toMatchObject({
      kind: "found",
      project: { configFile: "trigger.config.ts", cliVersion: "4.8.3", sdkVersion: "4.8.3" },
    });
  });
});

describe("the versions of SDK and CLI", () => {
  it("must be equal, and of the supported minor release", () => {
    expect(checkVersions("4.8.3", "4.8.3")).toBeUndefined();
    expect(checkVersions("4.8.4", "4.8.4")).toBeUndefined();
    expect(checkVersions("4.8.3", "4.8.4")?.message).toContain("differ");
    expect(checkVersions("4.80.0", "4.80.0")?.kind).toBe("version_unsupported");
    expect(checkVersions("4.8.3", "5.0.0")?.message).toBe("trigger.dev 5.0.0 is not supported");
  });
});
