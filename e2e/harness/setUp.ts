import { existsSync } from "node:fs";
import { join } from "node:path";
import { prepareMachine } from "@torpor/cli";
import { buildImage, formatProjectError, type StoredImage } from "@torpor/image";
import type { TestProject } from "vitest/node";
import { REPO_DIR, STATE_DIR } from "./paths.ts";

export interface Prepared {
  /** What this machine adds to the environment of every part. */
  readonly env: Readonly<Record<string, string>>;
  readonly images: { readonly nap: StoredImage; readonly probes: StoredImage };
}

declare module "vitest" {
  export interface ProvidedContext {
    prepared: Prepared;
  }
}

/** Once per run of the suite: looks whether sandboxes can run here, and builds the images of the projects that the tests deploy. */
export default async function setUp(project: TestProject): Promise<void> {
  const env = await machineEnv();
  const nap = await build(join(REPO_DIR, "examples/nap"));
  const probes = await build(join(import.meta.dirname, "../fixtures/probes"));
  project.provide("prepared", { env, images: { nap, probes } });
}

async function machineEnv(): Promise<Readonly<Record<string, string>>> {
  const line = (): void => {};
  const terminal = {
    json: true,
    isInteractive: false,
    line,
    value: line,
    progress: line,
    draw: line,
    endDrawing: line,
    error: line,
    paint: (_style: string, text: string) => text,
  };
  const own = join(STATE_DIR, "bin/runsc");
  const env = { ...process.env, ...(process.env["TORPOR_RUNSC"] === undefined && existsSync(own) ? { TORPOR_RUNSC: own } : {}) };
  const context = { terminal, env, cwd: REPO_DIR, repoDir: REPO_DIR, stateDir: STATE_DIR, signal: new AbortController().signal };
  const machine = await prepareMachine(context, { mayInstall: false });
  const [missing] = machine.missing;
  if (missing !== undefined)
    throw new Error(`Cannot test whole planes here: ${missing.message} (${missing.hint}); ./torpor test prepares the machine`);
  return machine.env;
}

async function build(projectDir: string): Promise<StoredImage> {
  const outcome = await buildImage({ projectDir, stateDir: STATE_DIR, progress: () => {} });
  if (outcome.kind === "built") return outcome.stored;
  throw new Error(formatProjectError(outcome.error));
}
