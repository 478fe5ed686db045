// Installs the packages that cannot be bundled, as the project's own CLI would do it in a container.
import { spawn } from "node:child_process";
import type { ProjectError } from "../projectError.ts";

const NPM_ARGS = ["install", "--no-audit", "--no-fund", "--no-save", "--no-package-lock", "--no-workspaces", "--prefer-offline"];
const TIMEOUT_MS = 5 * 60_000;
/** Of npm's output, which can be long, the end says what went wrong. */
const TAIL_CHARS = 4000;

/** Runs `npm install` in `dir`, which holds a package.json. Undefined: done. */
export async function installPackages(dir: string, report: (line: string) => void): Promise<ProjectError | undefined> {
  const { code, output } = await run("npm", NPM_ARGS, dir, report);
  if (code === 0) return undefined;
  const hint = `npm said:\n${output.trim()}`;
  return {
    kind: "install_failed",
    message: `npm cannot install the packages that stay outside the bundle (exit code ${code})`,
    places: [{ file: "package.json" }],
    hint,
  };
}

/** Runs one command that a build extension of the project asks for. Undefined: done. */
export async function runBuildCommand(command: string, dir: string, report: (line: string) => void): Promise<ProjectError | undefined> {
  const { code, output } = await run("sh", ["-c", command], dir, report);
  if (code === 0) return undefined;
  const message = `The build command \`${command}\` ended with exit code ${code}`;
  return { kind: "build_failed", message, places: [{ file: "trigger.config.ts" }], hint: `It said:\n${output.trim()}` };
}

async function run(
  command: string,
  args: readonly string[],
  cwd: string,
  report: (line: string) => void,
): Promise<{ code: number; output: string }> {
  const child = spawn(command, args, { cwd, stdio: ["ignore", "pipe", "pipe"], timeout: TIMEOUT_MS });
  let output = "";
  const take = (chunk: Buffer): void => {
    output = (output + chunk.toString()).slice(-TAIL_CHARS);
    for (const line of chunk.toString().split("\n")) if (line.trim() !== "") report(line.trimEnd());
  };
  child.stdout.on("data", take);
  child.stderr.on("data", take);
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  child.once("error", reject);
  child.once("close", (code) => resolve(code ?? -1));
  return { code: await promise, output };
}
