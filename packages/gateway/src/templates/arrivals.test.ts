import { mkdir, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silentLog } from "@torpor/observe";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { watchArrivals } from "./arrivals.ts";
import type { Machine } from "./templateKey.ts";

const DIGEST = "ab".repeat(32);

function task(id: string, more: object = {}): object {
  return { id, filePath: "x", ...more };
}

describe("an image that comes to this node", () => {
  let dir: string;
  let arrivals: { readonly reference: string; readonly machines: readonly Machine[] }[];
  let wake: () => void;
  let watching: Awaited<ReturnType<typeof watchArrivals>>;

  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "torpor-arrivals-"));
    arrivals = [];
    wake = () => undefined;
    watching = await watchArrivals(dir, silentLog, async (reference, machines) => {
      arrivals.push({ reference, machines });
      wake();
    });
  });

  afterEach(async () => {
    await watching.close();
    await rm(dir, { recursive: true, force: true });
  });

  /** As a build does it: finished under another name, then renamed. */
  async function arrive(digest: string, tasks: object[]): Promise<void> {
    const work = join(dir, "images", `.tmp-1-${digest.slice(0, 4)}`);
    await mkdir(work);
    const base = { digest: DIGEST, nodeVersion: "v24", arch: "x64" };
    const run = { args: ["node"], workingDir: "/app", user: { uid: 1000, gid: 1000 }, env: {} };
    const backgroundWorker = { contentHash: "1", packageVersion: "4", cliPackageVersion: "4", tasks: [], sourceFiles: [] };
    const image = { schema: 1, digest, projectRef: "proj_1", contentHash: "1", base, cliVersion: "4", sdkVersion: "4", run };
    await writeFile(join(work, "image.json"), JSON.stringify({ ...image, workerManifest: { tasks }, backgroundWorker }));
    await rename(work, join(dir, "images", `sha256-${digest}`));
  }

  async function nth(count: number): Promise<(typeof arrivals)[number]> {
    for (;;) {
      const arrival = arrivals[count - 1];
      if (arrival !== undefined) return arrival;
      await new Promise<void>((resolve) => (wake = resolve));
    }
  }

  it("is told once, with each machine that its tasks name, and the ordinary one for those that name none", async () => {
    await arrive(DIGEST, [
      task("a"),
      task("b", { machine: "small-2x" }),
      task("c", { machine: { preset: "micro" } }),
      task("d", { machine: "small-2x" }),
    ]);
    expect(await nth(1)).toEqual({
      reference: `sha256-${DIGEST}`,
      machines: [
        { cpu: 0.5, memoryGb: 0.5 },
        { cpu: 1, memoryGb: 1 },
        { cpu: 0.25, memoryGb: 0.25 },
      ],
    });
  });

  it("whose tasks name many machines is told with four of them: the others are made when they are first used", async () => {
    const names = ["micro", "small-1x", "small-2x", "medium-1x", "medium-2x", "large-1x"];
    await arrive(
      "cd".repeat(32),
      names.map((machine) => ({ id: machine, filePath: "x", machine })),
    );
    expect((await nth(1)).machines).toHaveLength(4);
  });
});
