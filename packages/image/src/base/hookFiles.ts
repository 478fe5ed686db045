// What every image has so that its sandboxes can become templates: see `../hook/preload.ts`.
import { execFile } from "node:child_process";
import { readFile, readdir } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { arch } from "node:process";
import { promisify } from "node:util";
import { z } from "zod";

/** Where the hook is inside the sandbox. */
export const HOOK_DIR = "/usr/local/lib/torpor";
/** What a runner is started with so that the hook runs before it. */
export const HOOK_OPTIONS = ["--import", `${HOOK_DIR}/preload.mjs`] as const;

const SOURCES = new URL("../hook/", import.meta.url);

/** File names and contents, as they are here. */
export type HookSources = Readonly<Record<string, Buffer>>;

/**
 * The hook's sources, and the library through which it reaches OpenSSL. Where there is none for this machine, the hook refuses
 * to make templates, and says so.
 */
export async function hookSources(): Promise<HookSources> {
  const names = (await readdir(SOURCES)).filter((name) => name.endsWith(".ts") && !name.endsWith(".test.ts")).toSorted();
  const files = await Promise.all(names.map(async (name) => [name, await readFile(new URL(name, SOURCES))] as const));
  const library = await foreignFunctions();
  return { ...Object.fromEntries(files), ...(library === undefined ? {} : { "koffi.node": library }) };
}

async function foreignFunctions(): Promise<Buffer | undefined> {
  const require = createRequire(createRequire(import.meta.url).resolve("koffi"));
  try {
    return await readFile(join(dirname(require.resolve(`@koromix/koffi-linux-${arch}`)), `linux_${arch}`, "koffi.node"));
  } catch {
    return undefined; // the hook says what is missing
  }
}

/** As the sandbox needs them: in JavaScript, since a process that strips types takes 30 ms longer to start. */
export async function hookFiles(sources: HookSources): Promise<HookSources> {
  const written = Object.entries(sources).filter(([name]) => name.endsWith(".ts"));
  const stripped = await strip(written.map(([, content]) => content.toString("utf8")));
  const files = written.map(([name], index) => [javascriptName(name), Buffer.from(withNames(stripped[index] ?? ""))] as const);
  return { ...Object.fromEntries(Object.entries(sources).filter(([name]) => !name.endsWith(".ts"))), ...Object.fromEntries(files) };
}

function javascriptName(name: string): string {
  return name.replace(/\.ts$/, ".mjs");
}

function withNames(text: string): string {
  return text.replace(/(["'])(\.\/[\w-]+\.ts)\1/g, (_match, quote: string, name: string) => quote + javascriptName(name) + quote);
}

/** In a process of its own, because Node warns of it wherever it is called. */
async function strip(texts: readonly string[]): Promise<string[]> {
  const script = `const { stripTypeScriptTypes } = require("module");
    process.stdin.toArray().then((chunks) => console.log(JSON.stringify(JSON.parse(Buffer.concat(chunks)).map((text) => stripTypeScriptTypes(text)))));`;
  const running = promisify(execFile)(process.execPath, ["--no-warnings", "--eval", script], {
    env: {},
    timeout: 30_000,
    maxBuffer: 16 * 1024 * 1024,
  });
  running.child.stdin?.end(JSON.stringify(texts));
  return z.array(z.string()).parse(JSON.parse((await running).stdout));
}
