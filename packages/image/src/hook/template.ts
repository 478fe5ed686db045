// The first process of a sandbox that becomes a template, and then of each of its clones.
import { fork } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { firstMisfit, parseEnvironment, replaceEnvironment } from "./environment.ts";
import { holdAtGate, importAhead, importsOf, takeLateValues } from "./modules.ts";
import { hideOurOptions } from "./options.ts";
import { READY_LINE, REFUSED_LINE, SPARE_VARIABLE, type Ahead, type Finding } from "./protocol.ts";
import { giveBackFreed } from "./nodesOwn.ts";
import { prepareRenewal } from "./renewal.ts";
import { say } from "./say.ts";
import { givenEnvironment } from "./givenEnvironment.ts";
import { SpareWorker, workerEntryOf } from "./spareWorker.ts";
import { warmUp } from "./warmUp.ts";

/** What the sandbox's environment is by the host's word. In a clone it is the clone's; `process.env` is the template's still. */
const ENVIRONMENT_FILE = "/proc/gvisor/spec_environ";
/** How late a clone notices that it is one. A template waits so only until it is saved. */
const LOOK_EVERY_MS = 2;

/** Resolves in each clone, where the runner then begins. Never resolves in the template. `mark` stands in the template's environment alone. */
export async function becomeTemplate(mark: string): Promise<void> {
  const made = await make().catch((error: unknown) => {
    say(`${REFUSED_LINE} ${error instanceof Error ? error.message : String(error)}`);
    process.exit(1);
  });
  giveBackFreed();
  say(READY_LINE);
  const shown = untilCloned(mark);
  made.renew();
  const env = await environmentOf(shown, made.worker);
  const misfit = firstMisfit(process.env, env, made.reads);
  if (misfit !== undefined) bootAnew(misfit, env, made.worker);
  replaceEnvironment(env);
  hideOurOptions();
  takeLateValues();
  made.worker?.offer();
  made.begin();
}

interface Made {
  readonly renew: () => void;
  readonly reads: Readonly<Record<string, string | null>>;
  readonly worker: SpareWorker | undefined;
  /** Lets the runner go, when it was loaded ahead. */
  readonly begin: () => void;
}

async function make(): Promise<Made> {
  const renew = prepareRenewal();
  const entry = process.argv[1] ?? "";
  const workerEntry = workerEntryOf(process.cwd());
  const mine = importsOf(entry);
  const workers = workerEntry === undefined ? [] : importsOf(workerEntry);
  const findings = await scout([...new Set([...mine, ...workers])]);
  const forMe = safe(mine, findings);
  const allowed = new Set(forMe.loads);
  await importAhead(forMe.files, { allowed });
  await warmUp();
  const begin = forMe.isAll ? await holdAtGate(entry, allowed) : () => undefined;
  // No garbage is collected first: that throws away compiled code too, and each clone would take 100 ms longer
  const worker =
    workerEntry === undefined ? undefined : await SpareWorker.fork({ entry: workerEntry, ...safe(workers, findings) }, process.env);
  return { renew, reads: forMe.reads, worker, begin };
}

/** Imports files in a process that is thrown away, to learn which may be imported before the clones part. */
async function scout(files: readonly string[]): Promise<Finding[]> {
  if (files.length === 0) return [];
  const child = fork(fileURLToPath(new URL("./scout.mjs", import.meta.url)), [...files], {
    execArgv: [],
    stdio: ["ignore", "ignore", "inherit", "ipc"],
  });
  return await new Promise((resolve, reject) => {
    child.once("message", (findings) => resolve(findings as Finding[]));
    child.once("exit", (code) => reject(new Error(`the scout ended with ${code} before it had looked at everything`)));
  });
}

interface Safe extends Ahead {
  readonly reads: Readonly<Record<string, string | null>>;
}

function safe(files: readonly string[], findings: readonly Finding[]): Safe {
  const found = findings.filter(({ file }) => files.includes(file));
  for (const { file, unsafe } of found) if (unsafe !== null) say(`torpor: ${file} is imported by each clone: ${unsafe}`);
  const chosen = found.filter(({ unsafe }) => unsafe === null);
  return {
    files: chosen.map(({ file }) => file),
    loads: findings.filter(({ unsafe }) => unsafe === null).flatMap(({ loads }) => loads), // whoever came first has loaded what others need too
    isAll: chosen.length === files.length,
    reads: Object.assign({}, ...chosen.map(({ reads }) => reads)) as Record<string, string | null>,
  };
}

/** Stands still until this is a clone; returns its environment. Nothing else of this process runs meanwhile. */
function untilCloned(mark: string): Record<string, string> {
  const never = new Int32Array(new SharedArrayBuffer(4));
  for (;;) {
    const text = readFileSync(ENVIRONMENT_FILE, "utf8");
    if (text !== "" && !text.split("\0").includes(mark)) return parseEnvironment(text);
    Atomics.wait(never, 0, 0, LOOK_EVERY_MS);
  }
}

/** What the host shows; of a clone that was made ahead, what it is given when it is known who it is. */
async function environmentOf(shown: Record<string, string>, worker: SpareWorker | undefined): Promise<Record<string, string>> {
  const origin = shown[SPARE_VARIABLE];
  if (origin === undefined) return shown;
  worker?.cloned();
  return await givenEnvironment(origin).catch((error: unknown) => {
    say(`torpor: nobody needs this clone: ${String(error)}`);
    process.exit(1);
  });
}

/** What has been imported has seen another environment than this clone's: it starts from the beginning, in the same sandbox. */
function bootAnew(name: string, env: Readonly<Record<string, string>>, worker: SpareWorker | undefined): never {
  say(`torpor: this clone boots anew, because of ${name} in its environment`);
  worker?.kill();
  if (process.execve === undefined) throw new Error(`Cannot start with ${name} as it is: this Node cannot execute itself anew`);
  return process.execve(process.execPath, [process.execPath, ...process.execArgv, ...process.argv.slice(1)], { ...env });
}
