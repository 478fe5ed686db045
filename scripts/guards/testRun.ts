import { spawn } from "node:child_process";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";

export interface TestResult {
  readonly name: string;
  readonly passed: boolean;
}

/** Ends whatever hangs because a guard is gone. */
const LIMIT_MS = 300_000;

interface Report {
  readonly testResults: readonly {
    readonly assertionResults: readonly {
      readonly fullName: string;
      readonly status: "passed" | "failed" | "skipped" | "pending" | "todo";
    }[];
  }[];
}

/** Runs the tests whose names contain one of `names`, and answers those that ran; none when the run did not come to its end. */
export async function runTests(
  folder: string,
  files: readonly string[],
  names: readonly string[],
  env: NodeJS.ProcessEnv,
): Promise<TestResult[]> {
  const report = join(folder, "guards-report.json");
  rmSync(report, { force: true });
  const pattern = names.map((name) => name.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`)).join("|");
  const args = ["run", ...files, "--testNamePattern", pattern, "--reporter=json", `--outputFile=${report}`];
  await run(folder, [join(folder, "node_modules/vitest/vitest.mjs"), ...args], env);
  if (!existsSync(report)) return [];
  const { testResults } = JSON.parse(readFileSync(report, "utf8")) as Report;
  return testResults.flatMap(({ assertionResults }) =>
    assertionResults
      .filter(({ status }) => status === "passed" || status === "failed")
      .map(({ fullName, status }) => ({ name: fullName, passed: status === "passed" })),
  );
}

/** In a process group of its own, so that nothing of it is left. */
async function run(cwd: string, args: readonly string[], env: NodeJS.ProcessEnv): Promise<void> {
  const child = spawn(process.execPath, args, { cwd, env, stdio: "ignore", detached: true });
  const end = (): void => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
    } catch {
      // nobody is left of it
    }
  };
  const limit = setTimeout(end, LIMIT_MS);
  process.once("exit", end);
  await new Promise<void>((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", () => resolve());
  });
  clearTimeout(limit);
  process.off("exit", end);
  end();
}
