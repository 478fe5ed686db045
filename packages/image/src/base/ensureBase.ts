// The part of an image that all tasks share: Node, its libraries, certificates and a minimal /etc.
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { chmod, chown, copyFile, mkdir, readFile, realpath, rm, stat, writeFile } from "node:fs/promises";
import { constants } from "node:fs";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { z } from "zod";
import { basesDir, makeWorkDir, publish, touch } from "../layout.ts";
import { readTree, syncTree, treeDigest } from "../tree.ts";
import { BASE_DIRECTORIES, etcFiles, TASK_USER } from "./etc.ts";
import { HOOK_DIR, hookFiles, hookSources, type HookSources } from "./hookFiles.ts";
import { librariesOf } from "./libraries.ts";

/** Where Node is inside the sandbox. */
export const NODE_PATH = "/usr/local/bin/node";

/** Changes whenever this folder would make another base from the same inputs. */
const RECIPE = 2;

const BaseRecord = z.object({ digest: z.string(), nodeVersion: z.string(), arch: z.string() });

export interface BaseImage extends z.infer<typeof BaseRecord> {
  dir: string;
  rootfs: string;
}

export interface EnsureBaseOptions {
  stateDir: string;
  /** The Node that tasks run with, 24 or newer, on this host. */
  nodeExecPath: string;
}

/**
 * Makes `<stateDir>/images/base/<digest>/rootfs` from this host's Node, or finds the one that was made from the same files.
 * Safe to call twice at once. Throws when Node or one of its libraries cannot be read.
 */
export async function ensureBase({ stateDir, nodeExecPath }: EnsureBaseOptions): Promise<BaseImage> {
  const node = await realpath(nodeExecPath);
  const libraries = await librariesOf(node);
  const hook = await hookSources();
  const inputs = join(basesDir(stateDir), `inputs-${await inputsKey([node, ...libraries], hook)}`);
  return (await findBase(stateDir, inputs)) ?? (await makeBase(stateDir, inputs, { node, libraries, hook }));
}

/** Files with equal path, size and change time have not changed: hashing 120 MB for each build would cost more than the build. */
async function inputsKey(files: readonly string[], hook: HookSources): Promise<string> {
  const hash = createHash("sha256").update(String(RECIPE));
  for (const [name, content] of Object.entries(hook)) hash.update(JSON.stringify([name, content.length])).update(content);
  for (const file of files) {
    const { size, ctimeNs, ino } = await stat(file, { bigint: true });
    hash.update(JSON.stringify([file, String(size), String(ctimeNs), String(ino)]));
  }
  return hash.digest("hex");
}

async function findBase(stateDir: string, inputs: string): Promise<BaseImage | undefined> {
  try {
    const base = await readBase(stateDir, (await readFile(inputs, "utf8")).trim());
    await touch(base.dir);
    return base;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  }
}

/** The base with this digest. Throws ENOENT when there is none. */
async function readBase(stateDir: string, digest: string): Promise<BaseImage> {
  const dir = join(basesDir(stateDir), digest);
  const record = BaseRecord.parse(JSON.parse(await readFile(join(dir, "base.json"), "utf8")));
  return { ...record, dir, rootfs: join(dir, "rootfs") };
}

async function makeBase(stateDir: string, inputs: string, contents: Omit<Contents, "certificates">): Promise<BaseImage> {
  const workDir = await makeWorkDir(basesDir(stateDir));
  try {
    const rootfs = join(workDir, "rootfs");
    const { nodeVersion, arch, certificates } = await askNode(contents.node);
    await writeRootfs(rootfs, { ...contents, certificates });
    const entries = await readTree(rootfs);
    const digest = treeDigest(entries);
    await writeFile(join(workDir, "base.json"), JSON.stringify({ digest, nodeVersion, arch }, null, 2));
    await syncTree(rootfs, entries);
    await publish(workDir, join(basesDir(stateDir), digest));
    await writeFile(inputs, `${digest}\n`);
    return await readBase(stateDir, digest);
  } finally {
    await rm(workDir, { recursive: true, force: true });
  }
}

/** Certificates are Node's own list, not the host's: the same Node gives the same base on every machine. */
async function askNode(node: string): Promise<{ nodeVersion: string; arch: string; certificates: string }> {
  const script = `JSON.stringify([process.version, process.arch, require("tls").rootCertificates.join("\\n") + "\\n"])`;
  const options = { env: {}, timeout: 30_000, maxBuffer: 16 * 1024 * 1024 };
  const { stdout } = await promisify(execFile)(node, ["--print", script], options);
  const [nodeVersion, arch, certificates] = z.tuple([z.string(), z.string(), z.string()]).parse(JSON.parse(stdout));
  return { nodeVersion, arch, certificates };
}

interface Contents {
  node: string;
  libraries: readonly string[];
  certificates: string;
  hook: HookSources;
}

async function writeRootfs(rootfs: string, { node, libraries, certificates, hook }: Contents): Promise<void> {
  for (const [path, mode] of Object.entries(BASE_DIRECTORIES)) {
    await mkdir(join(rootfs, path), { recursive: true });
    await chmod(join(rootfs, path), mode); // mkdir is subject to the umask, chmod is not
  }
  for (const [path, content] of Object.entries(etcFiles(certificates))) {
    await writeFile(join(rootfs, path), content);
    await chmod(join(rootfs, path), 0o644);
  }
  await makeFolders(join(rootfs, HOOK_DIR));
  for (const [name, content] of Object.entries(await hookFiles(hook))) {
    await writeFile(join(rootfs, HOOK_DIR, name), content);
    await chmod(join(rootfs, HOOK_DIR, name), 0o644);
  }
  for (const library of libraries) await copyExecutable(library, join(rootfs, library));
  await copyExecutable(node, join(rootfs, NODE_PATH));
  await chmod(rootfs, 0o755);
  if (process.getuid?.() === 0) await chown(join(rootfs, TASK_USER.home), TASK_USER.uid, TASK_USER.gid);
}

/** Copies the file itself where `from` is a link: `to` is where the loader looks for it. */
async function copyExecutable(from: string, to: string): Promise<void> {
  await makeFolders(dirname(to));
  await copyFile(await realpath(from), to, constants.COPYFILE_FICLONE);
  await chmod(to, 0o755);
}

async function makeFolders(folder: string): Promise<void> {
  const first = await mkdir(folder, { recursive: true });
  if (first === undefined) return;
  for (let path = folder; path.length >= first.length; path = dirname(path)) await chmod(path, 0o755);
}
