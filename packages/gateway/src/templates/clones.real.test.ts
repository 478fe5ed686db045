// Clones on real gVisor: nothing that one of them draws is ever drawn by another (L17), and each is who it is told to be.
import { chown, copyFile, cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ensureBase, HOOK_OPTIONS, NODE_PATH } from "@torpor/image";
import { systemClock, systemRandom } from "@torpor/kernel";
import { silentLog } from "@torpor/observe";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startGvisorDriver } from "../drivers/gvisor/index.ts";
import type { ComputeDriver, SandboxImage, SandboxSpec } from "../drivers/driver.ts";
import { leftoversOf } from "../testing/leftovers.ts";
import { makeRealHost, until, whyNoGvisor, type RealHost } from "../testing/realHost.ts";
import { makeTemplate } from "./makeTemplate.ts";
import { TemplateFiles } from "./templateFiles.ts";

const missing = await whyNoGvisor();
const MACHINE = { cpu: 1, memoryGb: 0.25 };
const CLONES = 64;
const AT_ONCE = 4;
const never = new AbortController().signal;

interface Draws {
  readonly drawn: Readonly<Record<string, readonly (string | number)[]>>;
  /** What was drawn in the template. */
  readonly early: readonly (string | number)[];
  readonly host: string;
  readonly output: string;
}

describe.skipIf(missing !== undefined)(
  `clones of a template${missing === undefined ? "" : ` cannot run here: ${missing}`}`,
  { timeout: 240_000 },
  () => {
    let dir: string;
    let host: RealHost;
    let driver: ComputeDriver;
    let files: TemplateFiles;

    beforeAll(async () => {
      dir = await mkdtemp(join(tmpdir(), "torpor-clones-"));
      host = await makeRealHost();
      driver = await startGvisorDriver(host.options, { clock: systemClock, log: silentLog });
      files = new TemplateFiles(join(dir, "templates"));
      await files.load();
    }, 120_000);

    afterAll(async () => {
      for (const { id } of await driver.list()) await driver.destroy(id);
      await driver.dispose();
      await driver.close();
      expect(await leftoversOf(host.options.planeId)).toEqual([]);
      await host.close();
      await rm(dir, { recursive: true, force: true });
    }, 120_000);

    /** An image whose program draws, and something before it in the template. `mended`: with the hook as it is. */
    async function imageOf({ mended }: { readonly mended: boolean }): Promise<SandboxImage> {
      const base = await ensureBase({ stateDir: dir, nodeExecPath: process.execPath });
      const app = join(base.rootfs, "app");
      for (const name of ["draws.mjs", "early.mjs"]) await copyFile(new URL(`../testing/${name}`, import.meta.url), join(app, name));
      const options = mended ? [...HOOK_OPTIONS] : ["--import", await unmendedHook(base.rootfs)];
      await mkdir(app, { recursive: true });
      await chown(app, 1000, 1000);
      return {
        digest: base.digest,
        rootfs: base.rootfs,
        args: [NODE_PATH, "--import", "/app/early.mjs", ...options, "/app/draws.mjs"],
        workingDir: "/app",
        user: { uid: 1000, gid: 1000 },
        env: { PATH: "/usr/local/bin" },
      };
    }

    /** `ahead`: it is made before it is known who it will be. */
    async function clone(spec: SandboxSpec, key: string, ahead = false): Promise<Draws> {
      const { id, image, cpu, memoryBytes } = spec;
      expect(await (ahead ? driver.spare({ id, image, cpu, memoryBytes }) : driver.prepare(spec))).toEqual({ kind: "prepared" });
      const outcome = await files.use(key, systemClock.nowMs(), (from) => driver.restore(spec.id, from));
      expect(outcome).toMatchObject({ kind: "started" });
      if (ahead) expect(await driver.assign(spec)).toMatchObject({ kind: "started" });
      const output = await until(
        async () => {
          const text = (await driver.output?.(spec.id)) ?? "";
          return /^drawn .*\n/m.test(text) ? text : undefined;
        },
        `clone ${spec.id} to say what it has drawn`,
        120_000,
      );
      await driver.destroy(spec.id);
      return { ...(JSON.parse(/^drawn (.*)$/m.exec(output)?.[1] ?? "") as Omit<Draws, "output">), output };
    }

    async function clones(count: number, image: SandboxImage, key: string): Promise<Draws[]> {
      const draws: Draws[] = [];
      await makeTemplate(
        { clock: systemClock, random: systemRandom, log: silentLog, driver },
        files,
        { key, image, machine: MACHINE },
        never,
      );
      const ids = Array.from({ length: count }, (_, index) => `clone${key.slice(0, 4)}${index}`);
      const worker = async (): Promise<void> => {
        for (let id = ids.shift(); id !== undefined; id = ids.shift()) {
          const isAhead = ids.length % 2 === 0;
          const spec = { id, image, env: { NAME: id }, cpu: 1, memoryBytes: 2 ** 28, metadata: { TRIGGER_RUNNER_ID: id } };
          draws.push(await clone(spec, key, isAhead));
        }
      };
      await Promise.all(Array.from({ length: AT_ONCE }, worker));
      return draws;
    }

    it("draw no value twice, 64 of them, and none that was drawn in the template (L17)", async () => {
      const all = await clones(CLONES, await imageOf({ mended: true }), "a".repeat(64));
      const values = all.flatMap(valuesOf);
      expect(values.length).toBeGreaterThan(CLONES * 20);
      expect(new Set(values).size).toBe(values.length);
      expect(all[0]?.early.length).toBeGreaterThan(10);
      for (const { early } of all) expect(values.filter((value) => early.includes(value))).toEqual([]);
      expect(new Set(all.map(({ host: name }) => name)).size).toBe(CLONES);
    });

    it("draw the same values when their random numbers are not renewed, so that the test above can fail", async () => {
      const [one, other] = await clones(2, await imageOf({ mended: false }), "b".repeat(64));
      const shared = (kind: string): boolean => (one?.drawn[kind] ?? []).some((value) => other?.drawn[kind]?.includes(value));
      expect(["uuid", "bytes", "int", "math", "context", "tls", "key"].filter(shared)).toEqual([
        "uuid",
        "bytes",
        "int",
        "math",
        "context",
        "tls",
        "key",
      ]);
    });

    it("boot anew when Node should have started with what is in their environment", async () => {
      const env = { NAME: "odd", LANG: "de_DE.UTF-8" };
      const spec = { id: "cloneodd", image: await imageOf({ mended: true }), env, cpu: 1, memoryBytes: 2 ** 28, metadata: {} };
      const { output } = await clone(spec, "a".repeat(64));
      expect(output).toContain("boots anew, because of LANG");
    });

    it("leave the template's files as they were", async () => {
      expect(await files.damage("a".repeat(64))).toBeUndefined();
      const folder = join(dir, "templates", "a".repeat(64));
      expect((await readdir(folder)).toSorted()).toEqual(["checkpoint.img", "manifest.json", "pages.img", "pages_meta.img"]);
      expect(JSON.parse(await readFile(join(folder, "manifest.json"), "utf8"))).toMatchObject({ cpu: 1, memoryGb: 0.25 });
    });
  },
);

/** The same hook, which renews nothing. */
async function unmendedHook(rootfs: string): Promise<string> {
  const [, path = ""] = HOOK_OPTIONS;
  await cp(join(rootfs, path, ".."), join(rootfs, "app/unmended"), { recursive: true });
  await writeFile(join(rootfs, "app/unmended/renewal.mjs"), "export const prepareRenewal = () => () => undefined;\n");
  return "/app/unmended/preload.mjs";
}

function valuesOf({ drawn }: Draws): (string | number)[] {
  return Object.values(drawn).flat();
}
