// From a project's folder to an immutable image folder. Nothing is visible under its final name before it is complete.
import { cp, realpath, rm, rmdir, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { ensureBase, NODE_PATH, type BaseImage } from "./base/ensureBase.ts";
import { TASK_USER } from "./base/etc.ts";
import { HOOK_DIR, HOOK_OPTIONS } from "./base/hookFiles.ts";
import { APP_DIR } from "./bundle/bundleProject.ts";
import type { Bundle } from "./bundle/messages.ts";
import { bundleInChild } from "./bundle/runChild.ts";
import { Image, imageDigest, type StoredImage } from "./image.ts";
import { linkTree, prepareForTask } from "./files.ts";
import { imageDir, imagesDir, makeWorkDir, publish, removeDeadWork } from "./layout.ts";
import { inspectProject, type Project } from "./project.ts";
import type { ProjectError } from "./projectError.ts";
import { readTree, syncTree, type TreeEntry } from "./tree.ts";

export interface BuildImageOptions {
  projectDir: string;
  stateDir: string;
  /** Called with a line for each step and for whatever npm and the project's own code print. */
  progress: (line: string) => void;
  /** The Node that the tasks will run with. Default: the one that runs this. */
  nodeExecPath?: string;
  /** What task modules may read from `process.env` when they are imported to be listed. Not part of the image. */
  indexEnv?: Readonly<Record<string, string>>;
  signal?: AbortSignal;
}

interface Stored {
  stored: StoredImage;
  alreadyThere: boolean;
}

export type BuildOutcome =
  | ({ kind: "built" } & Stored)
  /** The project is at fault, and nothing was changed. */
  | { kind: "rejected"; error: ProjectError };

/**
 * Bundles a project with its own `trigger.dev` CLI and makes `<stateDir>/images/sha256-<digest>/` of it: `rootfs/` and
 * `image.json`. The same content has the same digest. Safe to call twice at once. Runs code of the project on this host.
 * Throws only for what is not the project's fault: a full disk, an unreadable folder.
 */
export async function buildImage(options: BuildImageOptions): Promise<BuildOutcome> {
  const { stateDir, nodeExecPath = process.execPath, progress } = options;
  const inspected = await inspectProject(await realPathOf(options.projectDir));
  if (inspected.kind === "rejected") return inspected;
  const { project } = inspected;
  progress(`Project in ${project.dir}, @trigger.dev/sdk ${project.sdkVersion}`);
  const base = await ensureBase({ stateDir, nodeExecPath });
  return await withBundleDir(project.dir, async (workDir) => {
    const indexEnv = { PATH: process.env["PATH"] ?? "", ...options.indexEnv };
    const { dir: projectDir, configFile, cliDir } = project;
    const outcome = await bundleInChild({ projectDir, configFile, cliDir, workDir, indexEnv }, options);
    if (outcome.kind === "rejected") return outcome;
    progress("Writing the image");
    return { kind: "built", ...(await writeImage(stateDir, base, project, outcome.bundle)) };
  });
}

/** Without links, since stacks and bundles name files so; a folder that is not there is named as it was given. */
async function realPathOf(dir: string): Promise<string> {
  const path = resolve(dir);
  return await realpath(path).catch(() => path);
}

/** The CLI's modules resolve packages upwards from the bundle: it must lie below the project. Removed in any case. */
async function withBundleDir<T>(projectDir: string, work: (dir: string) => Promise<T>): Promise<T> {
  const parent = join(projectDir, ".trigger", "torpor");
  await removeDeadWork(parent);
  const dir = await makeWorkDir(parent);
  try {
    return await work(dir);
  } finally {
    await rm(dir, { recursive: true, force: true });
    await removeIfEmpty(parent);
    await removeIfEmpty(dirname(parent));
  }
}

/** It stays when it has something else in it, or when another build has begun or ended in it meanwhile. */
async function removeIfEmpty(dir: string): Promise<void> {
  try {
    await rmdir(dir);
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    if (code !== "ENOTEMPTY" && code !== "EEXIST" && code !== "ENOENT") throw error;
  }
}

async function writeImage(stateDir: string, base: BaseImage, project: Project, bundle: Bundle): Promise<Stored> {
  const workDir = await makeWorkDir(imagesDir(stateDir));
  try {
    const rootfs = join(workDir, "rootfs");
    await linkTree(base.rootfs, rootfs);
    await cp(bundle.appDir, join(rootfs, APP_DIR), { recursive: true, verbatimSymlinks: true });
    await prepareForTask(join(rootfs, APP_DIR));
    await prepareForTask(join(rootfs, TASK_USER.home));
    await listFiles(rootfs);
    const entries = await readTree(rootfs);
    const image = describeImage(entries, base, project, bundle);
    await writeFile(join(workDir, "image.json"), JSON.stringify(image, null, 2), { flush: true });
    await syncTree(rootfs, entries);
    const dir = imageDir(stateDir, image.digest);
    const isNew = await publish(workDir, dir);
    return { stored: { image, dir, rootfs: join(dir, "rootfs") }, alreadyThere: !isNew };
  } finally {
    await rm(workDir, { recursive: true, force: true });
  }
}

/** What the image has where a task may write: a sandbox that takes another run goes back to it. */
async function listFiles(rootfs: string): Promise<void> {
  const below = async (dir: string): Promise<string[]> => (await readTree(join(rootfs, dir))).map(({ path }) => join(dir, path));
  const paths = [...(await below(APP_DIR)), ...(await below(TASK_USER.home))];
  await writeFile(join(rootfs, HOOK_DIR, "files.json"), JSON.stringify(paths));
}

function describeImage(entries: readonly TreeEntry[], base: BaseImage, project: Project, bundle: Bundle): Image {
  const { appDir: _, controller, ...found } = bundle;
  const run = {
    args: [NODE_PATH, ...HOOK_OPTIONS, controller],
    workingDir: APP_DIR,
    user: { uid: TASK_USER.uid, gid: TASK_USER.gid },
    env: runnerEnv(bundle),
  };
  return Image.parse({
    schema: 1,
    digest: imageDigest(entries, run),
    ...found,
    base: { digest: base.digest, nodeVersion: base.nodeVersion, arch: base.arch },
    cliVersion: project.cliVersion,
    sdkVersion: project.sdkVersion,
    run,
  });
}

/** What the CLI's own container image sets; the rest is known only when a runner is started. */
function runnerEnv({ contentHash, projectRef }: Bundle): Record<string, string> {
  return {
    HOME: TASK_USER.home,
    NODE_ENV: "production",
    PATH: "/usr/local/bin:/usr/bin:/bin",
    TRIGGER_CONTENT_HASH: contentHash,
    TRIGGER_PROJECT_REF: projectRef,
    UV_USE_IO_URING: "0", // a runner with io_uring can neither be sandboxed nor checkpointed
  };
}
