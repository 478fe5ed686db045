import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ManualClock } from "@torpor/kernel";
import type { SandboxSpec } from "../driver.ts";
import { driverConformance } from "../conformance.ts";
import { FakeDriver, FakeHost } from "./fakeDriver.ts";

driverConformance("fake", { snapshots: true }, async () => {
  const scratchDir = await mkdtemp(join(tmpdir(), "torpor-fake-"));
  const clock = new ManualClock();
  const host = new FakeHost();
  let driver: FakeDriver | undefined;
  let count = 0;
  const image = { digest: "d".repeat(64), rootfs: "/", args: ["node"], workingDir: "/", user: { uid: 1000, gid: 1000 }, env: {} };
  const programs = new Map<string, string>();
  const progressNow = async (id: string): Promise<number> => host.sandboxes.get(id)?.memory.length ?? 0;
  return {
    scratchDir,
    async open() {
      driver = new FakeDriver({ clock, host });
      const opened = driver;
      return Object.assign(opened, {
        create: async (spec: SandboxSpec) => {
          const outcome = await FakeDriver.prototype.create.call(opened, spec);
          if (programs.get(spec.id) === "exits_with_7") queueMicrotask(() => opened.exit(spec.id, 7));
          return outcome;
        },
      });
    },
    spec(program) {
      const id = `sbxfake${count++}`;
      programs.set(id, program);
      return { id, image, env: {}, cpu: 1, memoryBytes: 2 ** 29, metadata: {} };
    },
    async progress(_driver, id) {
      driver?.work(id, "x");
      return await progressNow(id);
    },
    progressNow,
    async kill(id) {
      driver?.exit(id, 137);
    },
    close: () => rm(scratchDir, { recursive: true, force: true }),
  };
});
