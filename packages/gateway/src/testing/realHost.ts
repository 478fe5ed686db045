// What tests with real sandboxes share: an image, a scratch folder, and a look at what guests print.
import { existsSync, rmSync } from "node:fs";
import { chown, copyFile, mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { ensureBase, NODE_PATH } from "@torpor/image";
import type { SandboxImage } from "../drivers/driver.ts";
import { gvisorSupport, type GvisorOptions, type Support } from "../drivers/gvisor/index.ts";

const REPO_RUNSC = new URL("../../../../.torpor/bin/runsc", import.meta.url).pathname;

/** `TORPOR_RUNSC`, else the repo's own, else whatever is on PATH. */
export const RUNSC = process.env["TORPOR_RUNSC"] ?? (existsSync(REPO_RUNSC) ? REPO_RUNSC : "runsc");
export const TEST_RUN_DIR = "/run/torpor";

/** Why real sandboxes cannot run here, or undefined when they can. */
export async function whyNoGvisor(): Promise<string | undefined> {
  const support: Support = await gvisorSupport({ runscBinary: RUNSC, runDir: TEST_RUN_DIR });
  return support.kind === "supported" ? undefined : support.missing.map(({ what }) => what).join("; ");
}

export interface RealHost {
  readonly dir: string;
  readonly image: SandboxImage;
  readonly options: GvisorOptions;
  close(): Promise<void>;
}

let sharedImage: Promise<SandboxImage> | undefined;

/** Node and the test's guest program, made once per test process and removed at its end. */
function testImage(): Promise<SandboxImage> {
  sharedImage ??= makeImage();
  return sharedImage;
}

async function makeImage(): Promise<SandboxImage> {
  const dir = await mkdtemp(join(tmpdir(), "torpor-gateway-image-"));
  process.once("exit", () => rmSync(dir, { recursive: true, force: true }));
  const base = await ensureBase({ stateDir: dir, nodeExecPath: process.execPath });
  const app = join(base.rootfs, "app");
  await mkdir(app, { recursive: true });
  await copyFile(new URL("./guest.mjs", import.meta.url), join(app, "guest.mjs"));
  if (process.getuid?.() === 0) await chown(app, 1000, 1000);
  return {
    digest: base.digest,
    rootfs: base.rootfs,
    args: [NODE_PATH, "/app/guest.mjs"],
    workingDir: "/app",
    user: { uid: 1000, gid: 1000 },
    env: { PATH: "/usr/local/bin" },
  };
}

/** A folder of its own and a plane of its own for one test: tests run side by side. */
export async function makeRealHost(more: Partial<GvisorOptions> = {}): Promise<RealHost> {
  const dir = await mkdtemp(join(tmpdir(), "torpor-gateway-"));
  const planeId = `t${Math.random().toString(36).slice(2, 7)}`;
  return {
    dir,
    image: await testImage(),
    options: {
      planeId,
      runDir: TEST_RUN_DIR,
      stateDir: join(dir, "gateway"),
      runscBinary: RUNSC,
      services: [],
      egress: "none",
      sandboxDiskBytes: 64 * 1024 * 1024,
      cpuLimit: "weight",
      ...more,
    },
    close: () => rm(dir, { recursive: true, force: true }),
  };
}

/** An image whose guest runs `program`. */
export function withProgram(image: SandboxImage, program: string): SandboxImage {
  return { ...image, args: [...image.args, program] };
}

/** What a sandbox printed so far. */
export async function outputOf(stateDir: string, id: string, driver: "gvisor" | "process" = "gvisor"): Promise<string> {
  return await readFile(join(stateDir, driver, "sandboxes", id, "output.log"), "utf8").catch(() => "");
}

/** The last `tick <n>` of a sandbox; 0 before the first. */
export function lastTick(output: string): number {
  return Number([...output.matchAll(/^tick (\d+)/gm)].at(-1)?.[1] ?? 0);
}

/** Asks again and again until there is an answer. A bound on real sandboxes, not a way to see that nothing happens. */
export async function until<T>(ask: () => Promise<T | undefined>, what: string, timeoutMs = 20_000): Promise<T> {
  const endMs = performance.now() + timeoutMs;
  while (performance.now() < endMs) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    await delay(20);
  }
  throw new Error(`Waited ${timeoutMs} ms in vain for ${what}`);
}

/** Waits until a sandbox has ticked beyond `before`. */
export async function tickAfter(stateDir: string, id: string, before: number, driver: "gvisor" | "process" = "gvisor"): Promise<number> {
  return await until(async () => {
    const now = lastTick(await outputOf(stateDir, id, driver));
    return now > before ? now : undefined;
  }, `sandbox ${id} to tick after ${before}`);
}
