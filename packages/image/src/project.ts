// Looks at a project before anything of it is run: is it one, and do we know its SDK and CLI?
import { access, readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { z } from "zod";
import type { ProjectError } from "./projectError.ts";

const CONFIG_NAMES = ["ts", "mts", "cts", "js", "mjs", "cjs"].map((extension) => `trigger.config.${extension}`);

/** The wire is tested with this line of releases alone; a minor release may change it. */
export const SUPPORTED_VERSIONS = { major: 4, minor: 8 } as const;

/** What to install when the project has none of its own. */
export const RECOMMENDED_VERSION = "4.8.3";

export interface Project {
  dir: string;
  configFile: string;
  /** The folder of the project's own `trigger.dev` package. */
  cliDir: string;
  cliVersion: string;
  sdkVersion: string;
}

export type ProjectOutcome = { kind: "found"; project: Project } | { kind: "rejected"; error: ProjectError };

/** Reads files only; runs nothing of the project. */
export async function inspectProject(dir: string): Promise<ProjectOutcome> {
  const configFile = await findConfig(dir);
  if (configFile === undefined) return rejected(configMissing(dir));
  const sdk = await findPackage(dir, "@trigger.dev/sdk");
  if (sdk === undefined) return rejected(packageMissing("sdk_missing", "@trigger.dev/sdk", "npm install"));
  const cli = await findPackage(dir, "trigger.dev");
  if (cli === undefined) return rejected(packageMissing("cli_missing", "trigger.dev", "npm install --save-dev"));
  const error = checkVersions(sdk.version, cli.version);
  if (error !== undefined) return rejected(error);
  return { kind: "found", project: { dir, configFile, cliDir: cli.dir, cliVersion: cli.version, sdkVersion: sdk.version } };
}

function rejected(error: ProjectError): ProjectOutcome {
  return { kind: "rejected", error };
}

async function findConfig(dir: string): Promise<string | undefined> {
  for (const name of CONFIG_NAMES) if (await exists(join(dir, name))) return name;
  return undefined;
}

function configMissing(dir: string): ProjectError {
  return {
    kind: "config_missing",
    message: `Cannot find trigger.config.ts in ${dir}`,
    places: [],
    hint: "Name the folder that holds it; `npx trigger.dev init` makes a new project",
  };
}

function packageMissing(kind: "sdk_missing" | "cli_missing", name: string, command: string): ProjectError {
  const message = `Cannot find the package ${name} from the project`;
  const hint = `Install it there: ${command} ${name}@${RECOMMENDED_VERSION}`;
  return { kind, message, places: [{ file: "package.json" }], hint };
}

/** SDK and CLI must be of one version, which must be one that we know. Undefined: they are. */
export function checkVersions(sdkVersion: string, cliVersion: string): ProjectError | undefined {
  const known = `${SUPPORTED_VERSIONS.major}.${SUPPORTED_VERSIONS.minor}`;
  const install = `npm install @trigger.dev/sdk@${RECOMMENDED_VERSION} && npm install --save-dev trigger.dev@${RECOMMENDED_VERSION}`;
  const unsupported = (message: string): ProjectError => ({
    kind: "version_unsupported",
    message,
    places: [{ file: "package.json" }],
    hint: `Install versions that are equal and supported (${known}.x): ${install}`,
  });
  if (!isSupported(sdkVersion)) return unsupported(`@trigger.dev/sdk ${sdkVersion} is not supported`);
  if (!isSupported(cliVersion)) return unsupported(`trigger.dev ${cliVersion} is not supported`);
  if (sdkVersion === cliVersion) return undefined;
  return unsupported(`@trigger.dev/sdk ${sdkVersion} and trigger.dev ${cliVersion} differ`);
}

function isSupported(version: string): boolean {
  return version.startsWith(`${SUPPORTED_VERSIONS.major}.${SUPPORTED_VERSIONS.minor}.`);
}

const PackageJson = z.object({ version: z.string() });

async function findPackage(from: string, name: string): Promise<{ dir: string; version: string } | undefined> {
  const file = resolvePackageJson(from, name);
  if (file === undefined) return undefined;
  const { version } = PackageJson.parse(JSON.parse(await readFile(file, "utf8")));
  return { dir: dirname(file), version };
}

function resolvePackageJson(from: string, name: string): string | undefined {
  try {
    return createRequire(join(from, "package.json")).resolve(`${name}/package.json`);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "MODULE_NOT_FOUND") return undefined;
    throw error;
  }
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
