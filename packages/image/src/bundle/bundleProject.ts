// Makes the app folder of an image with the project's own CLI modules: bundle, install what cannot be bundled, list the tasks.
// The order is that of the CLI's own container file. `npm install` removes what it does not know from node_modules, and the
// runner's entry points are in there: so packages first, the bundle over them.
import { cp, mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { ProjectError } from "../projectError.ts";
import { WorkerManifest } from "../image.ts";
import { BuildManifest, ResolvedConfig, type CliModules } from "./cliModules.ts";
import { explainBuildFailure, explainConfigFailure, explainIndexFailure } from "./explain.ts";
import { installPackages, runBuildCommand } from "./install.ts";
import { Bundle, type BundleJob } from "./messages.ts";
import { linesOf } from "./linesOf.ts";
import { movePaths } from "./movePaths.ts";

/** Where the app is inside the sandbox; the CLI writes this into every manifest. */
export const APP_DIR = "/app";

export type BundleOutcome = { kind: "bundled"; bundle: Bundle } | { kind: "rejected"; error: ProjectError };
type Step<T> = { kind: "ok"; value: T } | { kind: "rejected"; error: ProjectError };
type Report = (line: string) => void;

/** Runs code of the project: its config, its build extensions and, for the index, its task modules. */
export async function bundleProject(job: BundleJob, cli: CliModules, report: Report): Promise<BundleOutcome> {
  const config = await readConfig(job, cli);
  if (config.kind === "rejected") return config;
  report("Bundling the tasks");
  const built = await build(job, cli, config.value);
  if (built.kind === "rejected") return built;
  const appDir = join(job.workDir, "app");
  warnAboutEnv(built.value, report);
  const error = await assemble(join(job.workDir, "out"), appDir, built.value, report);
  if (error !== undefined) return { kind: "rejected", error };
  report("Listing the tasks");
  const index = await indexTasks(job, cli, built.value, appDir);
  if (index.kind === "rejected") return index;
  if (index.value.tasks.length === 0) return rejected(noTasks(config.value, job.configFile));
  return { kind: "bundled", bundle: describe(appDir, config.value, built.value, index.value, cli) };
}

async function readConfig(job: BundleJob, cli: CliModules): Promise<Step<ResolvedConfig & { project: string }>> {
  try {
    const config = ResolvedConfig.parse(await cli.loadConfig({ cwd: job.projectDir, warn: false }));
    const { project, runtime } = config;
    if (typeof project !== "string" || project === "")
      return rejected(configInvalid(job, "project", 'is not set: give it the project\'s ref, e.g. "proj_hello"'));
    if (runtime.startsWith("bun")) return rejected(configInvalid(job, "runtime", `is "${runtime}", but tasks run on Node: use "node"`));
    return { kind: "ok", value: { ...config, project } };
  } catch (error) {
    return rejected(explainConfigFailure(error, job.configFile, job.projectDir));
  }
}

function configInvalid({ configFile }: BundleJob, setting: string, problem: string): ProjectError {
  return { kind: "config_invalid", message: `${configFile}: \`${setting}\` ${problem}`, places: [{ file: configFile }], hint: "" };
}

async function build(job: BundleJob, cli: CliModules, config: ResolvedConfig): Promise<Step<BuildManifest>> {
  const destination = join(job.workDir, "out");
  await mkdir(destination, { recursive: true });
  const fixed = { target: "deploy", environment: "prod", rewritePaths: true, envVars: {}, plain: true, listener: {} };
  try {
    const manifest = await cli.buildWorker({ ...fixed, destination, resolvedConfig: config, forcedExternals: cli.alwaysExternal });
    return checkFeatures(BuildManifest.parse(manifest), job.configFile);
  } catch (error) {
    // The CLI has printed the reason itself, and throws this to say so.
    if (error instanceof Error && error.constructor.name === "SkipLoggingError") return rejected(noTasks(config, job.configFile));
    const explained = explainBuildFailure(error);
    if (explained === undefined) throw error;
    return rejected(explained);
  }
}

/** What needs a container image has no place here: better said at once than missed by a task at three in the morning. */
function checkFeatures(manifest: BuildManifest, configFile: string): Step<BuildManifest> {
  const packages = manifest.image?.pkgs ?? [];
  const instructions = manifest.image?.instructions ?? [];
  if (packages.length + instructions.length === 0) return { kind: "ok", value: manifest };
  const message = `A build extension wants system packages or container instructions: ${[...packages, ...instructions].join(", ")}`;
  const hint = "Task images are made without a container engine: use npm packages that bring their own binaries";
  return rejected({ kind: "feature_unsupported", message, places: [{ file: configFile }], hint });
}

function warnAboutEnv({ deploy }: BuildManifest, report: Report): void {
  const names = [...Object.keys(deploy.env ?? {}), ...Object.keys(deploy.sync?.env ?? {})];
  if (names.length > 0)
    report(`Warning: set these variables in the environment yourself, syncing them is not supported: ${names.join(", ")}`);
}

function noTasks({ dirs }: ResolvedConfig, configFile: string): ProjectError {
  const message = `No tasks found in ${dirs.length === 0 ? "the project" : dirs.join(", ")}`;
  return {
    kind: "no_tasks",
    message,
    places: [{ file: configFile }],
    hint: "Export a task from a file there, or name the right folders in `dirs`",
  };
}

async function assemble(outDir: string, appDir: string, manifest: BuildManifest, report: Report): Promise<ProjectError | undefined> {
  await mkdir(appDir);
  await cp(join(outDir, "package.json"), join(appDir, "package.json"));
  const packages = manifest.externals ?? [];
  report(`Installing what stays outside the bundle: ${packages.map(({ name, version }) => `${name}@${version}`).join(", ") || "nothing"}`);
  const copyBundle = (): Promise<void> => cp(outDir, appDir, { recursive: true, force: true, verbatimSymlinks: true });
  const failure = packages.length === 0 ? undefined : await installPackages(appDir, report);
  if (failure !== undefined) return failure;
  await copyBundle();
  for (const command of manifest.build.commands ?? []) {
    const failed = await runBuildCommand(command, appDir, report);
    if (failed !== undefined) return failed;
  }
  await copyBundle(); // a build command may have cleaned up node_modules
  await rm(join(appDir, "Containerfile"), { force: true });
  await rm(join(appDir, "node_modules/.package-lock.json"), { force: true }); // npm's notes of where it downloaded from
  return undefined;
}

/** Imports every task in a process of its own. Its manifest speaks of /app, where it will run: here the app is elsewhere. */
async function indexTasks(job: BundleJob, cli: CliModules, manifest: BuildManifest, appDir: string): Promise<Step<WorkerManifest>> {
  const here = BuildManifest.parse(movePaths(manifest, APP_DIR, appDir));
  const manifestPath = join(job.workDir, "build.here.json");
  await writeFile(manifestPath, JSON.stringify(here));
  try {
    const found = await cli.indexWorkerManifest({
      runtime: here.runtime,
      indexWorkerPath: here.indexWorkerEntryPoint,
      buildManifestPath: manifestPath,
      nodeOptions: cli.execOptionsForRuntime(here.runtime, here),
      env: job.indexEnv,
      cwd: appDir,
      otelHookInclude: here.otelImportHook?.include,
      otelHookExclude: here.otelImportHook?.exclude,
      handleStdout: (text: string) => process.stdout.write(text),
      handleStderr: (text: string) => process.stderr.write(text),
    });
    const { timings: _, ...index } = WorkerManifest.parse(movePaths(found, appDir, APP_DIR));
    await writeFile(join(appDir, "index.json"), JSON.stringify(index, null, 2));
    return { kind: "ok", value: index };
  } catch (error) {
    const explained = await explainIndexFailure(error, job.projectDir, linesOf(job.projectDir));
    if (explained === undefined) throw error;
    return rejected(explained);
  }
}

function describe(appDir: string, config: { project: string }, manifest: BuildManifest, index: WorkerManifest, cli: CliModules): Bundle {
  const { contentHash, packageVersion, cliPackageVersion, runControllerEntryPoint } = manifest;
  const { tasks, prompts, queues, concurrencyLimits, webhookEndpoints, webhookSubscribers, runtime, runtimeVersion } = index as Record<
    string,
    unknown
  >;
  const sourceFiles = cli.resolveSourceFiles(manifest.sources, index.tasks);
  const lists = { tasks, prompts, queues, concurrencyLimits, webhookEndpoints, webhookSubscribers };
  const backgroundWorker = { contentHash, packageVersion, cliPackageVersion, ...lists, sourceFiles, runtime, runtimeVersion };
  return Bundle.parse({
    appDir,
    projectRef: config.project,
    contentHash,
    controller: runControllerEntryPoint,
    workerManifest: index,
    backgroundWorker,
  });
}

function rejected(error: ProjectError): { kind: "rejected"; error: ProjectError } {
  return { kind: "rejected", error };
}
