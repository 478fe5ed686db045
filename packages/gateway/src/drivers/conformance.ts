// The contract of `ComputeDriver`, as a suite that every driver passes, the fake included.
import { mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { ComputeDriver, SandboxExit, SandboxSpec } from "./driver.ts";

/** One kind of guest behaviour that the suite asks for. */
export type GuestProgram = "ticks" | "exits_with_7";

/** What a driver's test brings along. */
export interface ConformanceHost {
  /** A driver of the same plane; called again, it is what a restarted process would see. */
  open(): Promise<ComputeDriver>;
  /** A sandbox that runs this program, with a new id. */
  spec(program: GuestProgram): SandboxSpec;
  /** Waits until the sandbox has done something since `before`, and returns how far it is. */
  progress(driver: ComputeDriver, id: string, before: number): Promise<number>;
  /** How far the sandbox is now. */
  progressNow(id: string): Promise<number>;
  /** An empty folder for a memory image. */
  scratchDir: string;
  /** Ends every sandbox behind the driver's back. */
  kill(id: string): Promise<void>;
  close(): Promise<void>;
}

const never = new AbortController().signal;

export interface ConformanceOptions {
  readonly snapshots: boolean;
  /** Why the driver cannot run on this machine: the suite is then listed as skipped, with that reason. */
  readonly missing?: string | undefined;
}

/** Registers the suite for one driver. */
export function driverConformance(name: string, options: ConformanceOptions, makeHost: () => Promise<ConformanceHost>): void {
  const { missing } = options;
  const why = missing === undefined ? "" : ` cannot run here: ${missing}`;
  describe.skipIf(missing !== undefined)(`ComputeDriver contract: ${name}${why}`, () => {
    let host: ConformanceHost;
    let driver: ComputeDriver;
    let exits: SandboxExit[];
    let waiting: (() => void)[];

    beforeEach(async () => {
      host = await makeHost();
      exits = [];
      waiting = [];
      driver = await open();
    });

    afterEach(async () => {
      for (const { id } of await driver.list()) await driver.destroy(id);
      await driver.dispose();
      await driver.close();
      await host.close();
    });

    async function open(): Promise<ComputeDriver> {
      const opened = await host.open();
      opened.onExit((exit) => {
        exits.push(exit);
        for (const wake of waiting.splice(0)) wake();
      });
      return opened;
    }

    async function nextExit(): Promise<SandboxExit> {
      for (;;) {
        const exit = exits.shift();
        if (exit !== undefined) return exit;
        await new Promise<void>((resolve) => waiting.push(resolve));
      }
    }

    async function started(program: GuestProgram = "ticks"): Promise<SandboxSpec> {
      const spec = host.spec(program);
      expect(await driver.create(spec)).toMatchObject({ kind: "started" });
      return spec;
    }

    async function emptyDir(): Promise<string> {
      const dir = join(host.scratchDir, `image-${Math.random().toString(36).slice(2)}`);
      await mkdir(dir, { recursive: true });
      return dir;
    }

    it("destroying an absent sandbox succeeds", async () => {
      await expect(driver.destroy("sbxabsent")).resolves.toBeUndefined();
    });

    it("adopting an absent sandbox says that it is gone", async () => {
      expect(await driver.adopt("sbxabsent", {})).toBe("gone");
    });

    it("thawing an absent sandbox says that it is gone", async () => {
      expect(await driver.thaw("sbxabsent")).toEqual({ kind: "gone" });
    });

    it("tells nothing of an absent sandbox's usage", async () => {
      expect(await driver.usage("sbxabsent")).toBeUndefined();
    });

    it("tells an exit that nobody asked for, once", async () => {
      const spec = await started("exits_with_7");
      const exit = await nextExit();
      expect(exit).toEqual({ id: spec.id, exitCode: 7 });
      expect(exits).toEqual([]);
    });

    it("tells the exit of a sandbox that was killed from outside", async () => {
      const spec = await started();
      await host.progress(driver, spec.id, 0);
      await host.kill(spec.id);
      expect((await nextExit()).id).toBe(spec.id);
    });

    it("leaves nothing of a destroyed sandbox, and tells no exit", async () => {
      const spec = await started();
      await host.progress(driver, spec.id, 0);
      await driver.destroy(spec.id);
      expect(await driver.list()).toEqual([]);
      await driver.destroy(spec.id);
      const other = await started("exits_with_7");
      expect((await nextExit()).id).toBe(other.id); // the first exit that is told is not the destroyed one's
    });

    it("lists what runs after its own restart, and hears of its exit once it has adopted it", async () => {
      const spec = await started();
      const before = await host.progress(driver, spec.id, 0);
      await driver.close();
      driver = await open();
      expect(await driver.list()).toMatchObject([{ id: spec.id, state: "running" }]);
      expect(await driver.adopt(spec.id, {})).toBe("adopted");
      expect(await driver.adopt(spec.id, {})).toBe("adopted");
      await host.progress(driver, spec.id, before);
      await host.kill(spec.id);
      expect((await nextExit()).id).toBe(spec.id);
    });

    it("destroys what it did not adopt after its own restart", async () => {
      const spec = await started();
      await driver.close();
      driver = await open();
      await driver.destroy(spec.id);
      expect(await driver.list()).toEqual([]);
    });

    it("runs sandboxes beside one another", async () => {
      const [one, two] = await Promise.all([started(), started()]);
      await Promise.all([host.progress(driver, one.id, 0), host.progress(driver, two.id, 0)]);
      await driver.destroy(one.id);
      await host.progress(driver, two.id, await host.progressNow(two.id));
    });

    if (!options.snapshots) {
      it("says that it cannot save and cannot restore, in its abilities and when it is asked all the same", async () => {
        expect(driver.can.snapshot).toBe(false);
        expect(await driver.prepare(host.spec("ticks"))).toMatchObject({ kind: "refused" });
        expect(await driver.freeze("sbxabsent")).toMatchObject({ kind: "failed" });
      });
      return;
    }

    describe("snapshots", () => {
      it("restores a saved sandbox that goes on where it was", async () => {
        const spec = await started();
        const before = await host.progress(driver, spec.id, 0);
        expect(await driver.freeze(spec.id)).toEqual({ kind: "frozen" });
        const dir = await emptyDir();
        expect(await driver.save(spec.id, dir, never)).toEqual({ kind: "saved" });
        await driver.destroy(spec.id);
        const again = host.spec("ticks");
        expect(await driver.prepare(again)).toEqual({ kind: "prepared" });
        expect(await driver.list()).toMatchObject([{ id: again.id, state: "never_ran" }]);
        expect(await driver.restore(again.id, dir)).toMatchObject({ kind: "started" });
        await rm(dir, { recursive: true }); // may be removed as soon as it runs
        expect(await host.progress(driver, again.id, before)).toBeGreaterThan(before);
      });

      it("keeps a frozen sandbox still until it is thawed, and freezing and thawing twice is fine", async () => {
        const spec = await started();
        await host.progress(driver, spec.id, 0);
        expect(await driver.freeze(spec.id)).toEqual({ kind: "frozen" });
        expect(await driver.freeze(spec.id)).toEqual({ kind: "frozen" });
        const still = await host.progressNow(spec.id);
        expect(await driver.list()).toMatchObject([{ id: spec.id, state: "frozen" }]);
        expect(await host.progressNow(spec.id)).toBe(still);
        expect(await driver.thaw(spec.id)).toEqual({ kind: "thawed" });
        expect(await driver.thaw(spec.id)).toEqual({ kind: "thawed" });
        await host.progress(driver, spec.id, still);
      });

      it("stays frozen after a save, and goes on when it is thawed", async () => {
        const spec = await started();
        await host.progress(driver, spec.id, 0);
        await driver.freeze(spec.id);
        const still = await host.progressNow(spec.id);
        expect(await driver.save(spec.id, await emptyDir(), never)).toEqual({ kind: "saved" });
        expect(await driver.list()).toMatchObject([{ state: "frozen" }]);
        await driver.thaw(spec.id);
        await host.progress(driver, spec.id, still);
      });

      it("a save that is cut off leaves a sandbox that can be thawed and saved again", async () => {
        const spec = await started();
        await host.progress(driver, spec.id, 0);
        await driver.freeze(spec.id);
        const still = await host.progressNow(spec.id);
        const abort = new AbortController();
        const saving = driver.save(spec.id, await emptyDir(), abort.signal);
        abort.abort();
        expect((await saving).kind).toBe("canceled");
        expect(await driver.thaw(spec.id)).toEqual({ kind: "thawed" });
        await host.progress(driver, spec.id, still);
        await driver.freeze(spec.id);
        expect(await driver.save(spec.id, await emptyDir(), never)).toEqual({ kind: "saved" });
      });

      it("finds a frozen sandbox frozen after its own restart", async () => {
        const spec = await started();
        await driver.freeze(spec.id);
        await driver.close();
        driver = await open();
        expect(await driver.list()).toMatchObject([{ id: spec.id, state: "frozen" }]);
        expect(await driver.adopt(spec.id, {})).toBe("adopted");
        expect(await driver.thaw(spec.id)).toEqual({ kind: "thawed" });
      });

      it("destroys a frozen sandbox", async () => {
        const spec = await started();
        await driver.freeze(spec.id);
        await driver.destroy(spec.id);
        expect(await driver.list()).toEqual([]);
      });

      it("says that a killed sandbox is gone when it is thawed", async () => {
        const spec = await started();
        await driver.freeze(spec.id);
        await host.kill(spec.id);
        expect((await nextExit()).id).toBe(spec.id);
        expect(await driver.thaw(spec.id)).toEqual({ kind: "gone" });
      });

      it("refuses to restore files that are not there, and leaves nothing", async () => {
        const dir = await emptyDir();
        const spec = host.spec("ticks");
        await driver.prepare(spec);
        expect(await driver.restore(spec.id, dir)).toMatchObject({ kind: "refused" });
        expect(await driver.list()).toEqual([]);
        expect(await readdir(dir)).toEqual([]);
      });

      it("makes a spare the sandbox that is asked for, with the memory that is restored into it", async () => {
        const spec = await started();
        const before = await host.progress(driver, spec.id, 0);
        await driver.freeze(spec.id);
        const dir = await emptyDir();
        expect(await driver.save(spec.id, dir, never)).toEqual({ kind: "saved" });
        await driver.destroy(spec.id);
        const again = host.spec("ticks");
        const { id, image, cpu, memoryBytes } = again;
        expect(await driver.spare({ id, image, cpu, memoryBytes })).toEqual({ kind: "prepared" });
        expect(await driver.list()).toMatchObject([{ id, state: "never_ran" }]);
        expect(await driver.prepare(again)).toEqual({ kind: "prepared" });
        expect(await driver.restore(id, dir)).toMatchObject({ kind: "started" });
        expect(await host.progress(driver, id, before)).toBeGreaterThan(before);
      });

      it("destroys a spare of an earlier process", async () => {
        const { id, image, cpu, memoryBytes } = host.spec("ticks");
        await driver.spare({ id, image, cpu, memoryBytes });
        await driver.close();
        driver = await open();
        expect(await driver.list()).toMatchObject([{ id, state: "never_ran" }]);
        await driver.destroy(id);
        expect(await driver.list()).toEqual([]);
      });

      it("refuses to make a sandbox that is no spare another one", async () => {
        expect(await driver.assign(host.spec("ticks"))).toMatchObject({ kind: "refused" });
      });

      it("destroys what was prepared and is not wanted", async () => {
        const spec = host.spec("ticks");
        await driver.prepare(spec);
        await driver.destroy(spec.id);
        expect(await driver.list()).toEqual([]);
      });
    });
  });
}
