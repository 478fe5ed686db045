// Where images live below a state folder. Whatever is not finished has a name that starts with ".tmp-".
import { randomBytes } from "node:crypto";
import { mkdir, readdir, rename, rm, utimes } from "node:fs/promises";
import { dirname, join } from "node:path";
import { syncPath } from "./tree.ts";

export function imagesDir(stateDir: string): string {
  return join(stateDir, "images");
}

export function basesDir(stateDir: string): string {
  return join(imagesDir(stateDir), "base");
}

export function imageDir(stateDir: string, digest: string): string {
  return join(imagesDir(stateDir), `sha256-${digest}`);
}

/** A new folder for work in progress; its name says whose it is, so that a dead owner's can be told from a live one's. */
export async function makeWorkDir(parent: string): Promise<string> {
  const dir = join(parent, `.tmp-${process.pid}-${randomBytes(6).toString("hex")}`);
  await mkdir(dir, { recursive: true, mode: 0o755 });
  return dir;
}

/** The process that made a work folder, or undefined when `name` is not one. */
function workDirOwner(name: string): number | undefined {
  const pid = /^\.tmp-(\d+)-[0-9a-f]+$/.exec(name)?.[1];
  return pid === undefined ? undefined : Number(pid);
}

/** Makes an image or a base young again: whoever has just found it must have time to say that it is needed. */
export async function touch(dir: string): Promise<void> {
  const now = new Date();
  await utimes(dir, now, now);
}

/** Gives a finished work folder its name. False: another had it already, and ours, which is equal, is removed. */
export async function publish(workDir: string, finalDir: string): Promise<boolean> {
  try {
    await rename(workDir, finalDir);
    await syncPath(dirname(finalDir));
    return true;
  } catch (error) {
    if (!isTaken(error)) throw error;
    await touch(finalDir);
    await rm(workDir, { recursive: true, force: true });
    return false;
  }
}

function isTaken(error: unknown): boolean {
  return error instanceof Error && "code" in error && (error.code === "ENOTEMPTY" || error.code === "EEXIST");
}

/** Removes the work folders of processes that are gone, and says which. */
export async function removeDeadWork(parent: string): Promise<string[]> {
  const dead: string[] = [];
  for (const name of await namesIn(parent)) {
    const owner = workDirOwner(name);
    if (owner === undefined || isAlive(owner)) continue;
    await rm(join(parent, name), { recursive: true, force: true });
    dead.push(name);
  }
  return dead;
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}

/** The names in a folder; none when it is not there. */
export async function namesIn(dir: string): Promise<string[]> {
  try {
    return await readdir(dir);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return [];
    throw error;
  }
}
