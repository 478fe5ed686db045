// The modules that an entry point is made of, without itself.
import { readFileSync } from "node:fs";
import { registerHooks } from "node:module";
import { dirname, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { setFlagsFromString } from "node:v8";
import { entered, opened } from "./gateKeeper.ts";

/** As the bundler writes them: one to a line. What is written otherwise is not found, and loads later. */
const IMPORT_LINE = /^(?:import (?:[^"();]* from )?|\} from )"(\.[^"]+\.m?js)";$/gm;

/** Files that `file` imports statically. */
export function directImports(file: string): string[] {
  const text = readText(file);
  return [...text.matchAll(IMPORT_LINE)].map(([, path = ""]) => resolve(dirname(file), path));
}

function readText(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return ""; // the import itself will say what is wrong with it
  }
}

/** Everything that `entry` imports statically, also by way of others, each after what it needs. `entry` is not in it. */
export function importsOf(entry: string): string[] {
  const seen = new Set([entry]);
  const order: string[] = [];
  const visit = (file: string): void => {
    for (const next of directImports(file)) {
      if (seen.has(next)) continue;
      seen.add(next);
      visit(next);
      order.push(next);
    }
  };
  visit(entry);
  return order;
}

/**
 * Values that a library takes once, when it is imported, and that must be each clone's own: they are taken later, by the very
 * expression that the library has. Files stay as they are; when a library is written otherwise nothing matches, and the scout
 * finds it unsafe to import ahead.
 */
const LATE_VALUES = [/^var (machineId\w*) = (getEnvVar\w*\("TRIGGER_MACHINE_ID"\) \?\? generateFriendlyId\w*\("machine"\));$/m];

const late: (() => void)[] = [];
const LATE_KEY = Symbol.for("torpor.late");

/**
 * Imports files in order. `allowed`: what may be loaded on the way, as URLs; anything else ends it, because nobody has looked at
 * what it does. Undefined: everything, and `onLoad` hears of it.
 */
export async function importAhead(
  files: readonly string[],
  options: { readonly allowed?: ReadonlySet<string>; readonly onLoad?: (url: string) => void },
): Promise<void> {
  Reflect.set(globalThis, LATE_KEY, late);
  const hooks = registerHooks({
    load(url, context, next) {
      mayLoad(url, options.allowed);
      options.onLoad?.(url);
      const loaded = next(url, context);
      return loaded.format === "module" && loaded.source != null ? { ...loaded, source: madeLate(textOf(loaded.source)) } : loaded;
    },
  });
  try {
    await compiledWhole(async () => {
      for (const file of files) await import(pathToFileURL(file).href);
    });
  } finally {
    hooks.deregister();
    Reflect.deleteProperty(globalThis, LATE_KEY);
  }
}

/**
 * V8 compiles a function when it is first called, which each clone would do again for some thousand functions. What is imported
 * ahead is compiled as a whole, once.
 */
async function compiledWhole(work: () => Promise<void>): Promise<void> {
  setFlagsFromString("--no-lazy");
  try {
    await work();
  } finally {
    setFlagsFromString("--lazy"); // a task's own code is compiled as everywhere
  }
}

function mayLoad(url: string, allowed: ReadonlySet<string> | undefined): void {
  if (allowed === undefined || url.startsWith("node:") || allowed.has(url)) return;
  throw new Error(`Cannot import ${url} before the clones part: nobody has looked at it`);
}

function textOf(source: string | ArrayBuffer | NodeJS.TypedArray): string {
  return typeof source === "string" ? source : Buffer.from(source as Uint8Array).toString("utf8");
}

function madeLate(source: string): string {
  return LATE_VALUES.reduce(
    (text, pattern) => text.replace(pattern, 'var $1; globalThis[Symbol.for("torpor.late")].push(() => { $1 = $2; });'),
    source,
  );
}

/**
 * Loads an entry point all of whose imports were imported ahead, and stops it before its first statement. Returns what lets it
 * go on; that it is loaded again by Node, as the program to run, makes no difference then.
 */
export async function holdAtGate(entry: string, allowed: ReadonlySet<string>): Promise<() => void> {
  const url = pathToFileURL(entry).href;
  const gate = new URL("./gate.mjs", import.meta.url).href;
  const hooks = registerHooks({
    load(loading, context, next) {
      mayLoad(loading, new Set([...allowed, url, gate]));
      const loaded = next(loading, context);
      if (loading !== url || loaded.format !== "module" || loaded.source == null) return loaded;
      return { ...loaded, source: `import ${JSON.stringify(gate)};${textOf(loaded.source)}` };
    },
  });
  try {
    await compiledWhole(() => {
      const failed = import(url).then(() => new Promise<never>(() => undefined));
      failed.catch(() => undefined); // later on Node imports the same, and says so
      return Promise.race([entered.promise, failed]);
    });
  } finally {
    hooks.deregister();
  }
  return opened.resolve;
}

/** Takes the values that were put off. */
export function takeLateValues(): void {
  for (const take of late.splice(0)) take();
}
