// Takes each guard away, one after another, in a copy of the sources, and sees that its test fails. By hand: it takes some seconds for each.
//
//   node scripts/guards.ts [H7 L8 …]
import { existsSync } from "node:fs";
import { join } from "node:path";
import { withoutGuard, type Guard } from "./guards/guard.ts";
import { HOLES } from "./guards/holes.ts";
import { LAWS } from "./guards/laws.ts";
import { SourceCopy } from "./guards/sourceCopy.ts";
import { runTests } from "./guards/testRun.ts";

const root = join(import.meta.dirname, "..");

/** Tests of real sandboxes find the program and the images of this repository. */
function testEnv(): NodeJS.ProcessEnv {
  const state = join(root, ".torpor");
  const runsc = join(state, "bin/runsc");
  return { ...(existsSync(runsc) ? { TORPOR_RUNSC: runsc } : {}), TORPOR_STATE_DIR: state, ...process.env };
}

function chosen(ids: readonly string[]): Guard[] {
  const all = [...HOLES, ...LAWS];
  const unknown = ids.filter((id) => !all.some((guard) => guard.id === id));
  if (unknown.length > 0) throw new Error(`Cannot check ${unknown.join(", ")}: the list of guards has no such number (${idsOf(all)})`);
  return all.filter(({ id }) => ids.length === 0 || ids.includes(id));
}

function idsOf(guards: readonly Guard[]): string {
  return [...new Set(guards.map(({ id }) => id))].join(", ");
}

/** Tests that fail, or do not run, while every guard stands: what they say of a missing one is worth nothing. */
async function unfit(copy: SourceCopy, guards: readonly Guard[]): Promise<Set<string>> {
  const files = [...new Set(guards.map(({ test }) => test.file))];
  const names = [...new Set(guards.map(({ test }) => test.name))];
  const results = await runTests(copy.folder, files, names, testEnv());
  const isFit = (name: string): boolean => {
    const ran = results.filter((result) => result.name.includes(name));
    return ran.length > 0 && ran.every(({ passed }) => passed);
  };
  return new Set(names.filter((name) => !isFit(name)));
}

async function verdictOn(copy: SourceCopy, guard: Guard): Promise<"missed" | "not missed" | "no test ran"> {
  const restore = copy.change(guard.file, (text) => withoutGuard(text, guard));
  try {
    const results = await runTests(copy.folder, [guard.test.file], [guard.test.name], testEnv());
    if (results.length === 0) return "no test ran";
    return results.some(({ passed }) => !passed) ? "missed" : "not missed";
  } finally {
    restore();
  }
}

async function main(ids: readonly string[]): Promise<number> {
  const guards = chosen(ids);
  const copy = SourceCopy.make(root);
  process.once("exit", () => copy.remove());
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1));
  const bad = await unfit(copy, guards);
  let wrong = 0;
  for (const guard of guards) {
    const startedMs = performance.now();
    const verdict = bad.has(guard.test.name) ? "its test fails, or does not run, with the guard in place" : await verdictOn(copy, guard);
    if (verdict !== "missed") wrong++;
    const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
    console.log(`${verdict === "missed" ? "ok  " : "FAIL"} ${guard.id}: ${guard.guard} (${verdict}, ${seconds} s)`);
  }
  console.log(`${guards.length} guards, ${guards.length - wrong} missed by their tests when they are taken away`);
  return wrong === 0 ? 0 : 1;
}

process.exit(await main(process.argv.slice(2)));
