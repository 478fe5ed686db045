import type { Command, CommandContext } from "../command.ts";
import { EXIT } from "../exitCodes.ts";
import { showMs } from "../terminal/table.ts";
import { runChild } from "./run.ts";

interface Step {
  readonly name: string;
  readonly what: string;
  readonly args: readonly string[];
}

/** Each step is a program of the repo's own dependencies, run by this very Node. */
const STEPS: readonly Step[] = [
  { name: "format", what: "oxfmt", args: ["node_modules/oxfmt/bin/oxfmt", "--check"] },
  { name: "lint", what: "oxlint", args: ["node_modules/oxlint/bin/oxlint", "--quiet"] },
  { name: "types", what: "tsc", args: ["node_modules/typescript/bin/tsc", "-p", "."] },
  { name: "imports", what: "import rules", args: ["scripts/checkImports.ts"] },
  { name: "dead code", what: "knip", args: ["node_modules/knip/bin/knip.js", "--no-config-hints"] },
  { name: "spec", what: "SPEC coverage", args: ["scripts/checkSpec.ts"] },
  { name: "docs", what: "the documents' commands", args: ["scripts/checkDocs.ts"] },
];

/** Format, lint, types, import rules, dead code, SPEC coverage, the documents' commands. All steps run; each failure is shown. */
export const check: Command = {
  name: "check",
  summary: "format, lint, types, import rules, dead code, SPEC coverage, the documents' commands",
  options: [{ flags: "--fix", description: "format the files instead of only looking" }],
  async run(context, input) {
    if (input.options["fix"] === true)
      await runChild(process.execPath, ["node_modules/oxfmt/bin/oxfmt"], { cwd: context.repoDir, output: "inherit" });
    const results: { readonly step: string; readonly ok: boolean; readonly tookMs: number; readonly output: string }[] = [];
    for (const step of STEPS) results.push(await runStep(context, step));
    context.terminal.value(results);
    return results.every(({ ok }) => ok) ? EXIT.ok : EXIT.failed;
  },
};

async function runStep({ terminal, repoDir, signal }: CommandContext, step: Step) {
  const startedMs = performance.now();
  const { code, output } = await runChild(process.execPath, step.args, { cwd: repoDir, signal, output: "collect" });
  const tookMs = Math.round(performance.now() - startedMs);
  const ok = code === 0;
  terminal.line(
    `${ok ? terminal.paint("green", "ok  ") : terminal.paint("red", "FAIL")} ${step.name.padEnd(10)} ${terminal.paint("dim", `${step.what}, ${showMs(tookMs)}`)}`,
  );
  if (!ok) terminal.line(output.trimEnd());
  return { step: step.name, ok, tookMs, output: ok ? "" : output };
}
