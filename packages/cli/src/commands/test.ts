import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import type { Command } from "../command.ts";
import { EXIT } from "../exitCodes.ts";
import { prepareMachine } from "../setup/prepareMachine.ts";
import { runChild } from "./run.ts";

const Report = z.object({
  numPassedTests: z.number(),
  numFailedTests: z.number(),
  numPendingTests: z.number(),
  numTodoTests: z.number().default(0),
});

/** Every test: unit, contract, and end to end with a real PostgreSQL, real runners and real sandboxes. */
export const test: Command = {
  name: "test",
  summary: "run every test, or those below the paths given",
  args: [{ name: "[paths...]", description: "files or folders" }],
  options: [{ flags: "--no-install", description: "do not install system packages that are missing" }],
  async run(context, input) {
    const machine = await prepareMachine(context, { mayInstall: input.options["install"] !== false });
    const scratchDir = mkdtempSync(join(tmpdir(), "torpor-test-"));
    const reportFile = join(scratchDir, "report.json");
    try {
      const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${reportFile}`];
      const args = ["node_modules/vitest/vitest.mjs", "run", ...reporters, ...input.args];
      const env = { ...context.env, ...machine.env };
      const { code } = await runChild(process.execPath, args, { cwd: context.repoDir, env, signal: context.signal, output: "inherit" });
      const report = Report.safeParse(readJson(reportFile));
      if (report.success) {
        const { numPassedTests, numFailedTests, numPendingTests, numTodoTests } = report.data;
        context.terminal.line(`${numPassedTests} passed, ${numFailedTests} failed, ${numPendingTests + numTodoTests} skipped`);
        context.terminal.value({ passed: numPassedTests, failed: numFailedTests, skipped: numPendingTests + numTodoTests });
      }
      return code === 0 && report.success && report.data.numPassedTests > 0 ? EXIT.ok : EXIT.failed;
    } finally {
      rmSync(scratchDir, { recursive: true, force: true });
    }
  },
};

function readJson(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, "utf8"));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined; // vitest ended before it wrote a report: the exit code tells
    throw error;
  }
}
