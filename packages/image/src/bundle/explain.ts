// From what the CLI's modules, esbuild and the project's code throw to an error of the project, with file and line.
// Whatever is not recognised is not explained: the caller throws it as it is.
import { isAbsolute, relative } from "node:path";
import { z } from "zod";
import type { Place, ProjectError } from "../projectError.ts";

const EsbuildLocation = z.object({ file: z.string(), line: z.number(), column: z.number() });
const EsbuildFailure = z.object({ errors: z.array(z.object({ text: z.string(), location: EsbuildLocation.nullable() })).min(1) });
const ImportFailure = z.object({
  name: z.literal("TaskIndexingImportError"),
  importErrors: z.array(z.object({ file: z.string(), message: z.string(), stack: z.string().optional() })),
});
const UncaughtFailure = z.object({
  name: z.literal("UncaughtExceptionError"),
  originalError: z.object({ message: z.string(), stack: z.string().optional() }),
});
const DuplicateFailure = z.object({
  name: z.literal("DuplicateTaskIdsError"),
  collisions: z.array(z.object({ id: z.string(), filePaths: z.array(z.string()) })),
});
const ParseFailure = z.object({
  name: z.literal("TaskMetadataParseError"),
  zodIssues: z.array(z.looseObject({ path: z.array(z.union([z.string(), z.number()])), message: z.string() })),
  tasks: z.array(z.looseObject({ id: z.string().optional(), filePath: z.string().optional() })),
});

/** An error of esbuild: syntax, an import that leads nowhere, and the like. */
export function explainBuildFailure(error: unknown): ProjectError | undefined {
  const failure = EsbuildFailure.safeParse(error);
  if (!failure.success) return undefined;
  const places = failure.data.errors.map(({ text, location }): Place => {
    if (location === null) return { file: "trigger.config.ts", message: text };
    return { file: location.file, line: Math.max(1, location.line), column: location.column + 1, message: text };
  });
  return { kind: "build_failed", message: "The project cannot be bundled", places, hint: "Mend these places and deploy again" };
}

/** An error of `trigger.config.ts` itself: it does not parse, throws, or has a setting that the CLI refuses. */
export function explainConfigFailure(error: unknown, configFile: string, projectDir: string): ProjectError {
  const message = error instanceof Error ? error.message : String(error);
  if (message.startsWith("No lockfile found")) return lockfileMissing(projectDir);
  const stack = error instanceof Error ? (error.stack ?? "") : "";
  const place = placeInText(`${message}\n${stack}`, projectDir) ?? { file: configFile };
  return { kind: "config_invalid", message: `${configFile} cannot be read: ${firstLine(message)}`, places: [place], hint: "" };
}

function lockfileMissing(projectDir: string): ProjectError {
  const message = `No lock file of npm, pnpm, yarn or bun in ${projectDir} or above it`;
  return { kind: "lockfile_missing", message, places: [], hint: "Install the project's packages there, e.g. with `npm install`" };
}

/** `lineOf` finds the line of a text in a file of the project, for errors that name no line. */
export type LineOf = (file: string, text: string) => Promise<number[]>;

/** An error that came up while the project's tasks were imported and listed. */
export async function explainIndexFailure(error: unknown, projectDir: string, lineOf: LineOf): Promise<ProjectError | undefined> {
  const facts = typeof error === "object" ? { ...error, name: nameOf(error) } : error;
  const imports = ImportFailure.safeParse(facts);
  if (imports.success) return importFailed(imports.data.importErrors, projectDir);
  const uncaught = UncaughtFailure.safeParse(facts);
  if (uncaught.success) return importFailed([{ file: "", ...uncaught.data.originalError }], projectDir);
  const duplicates = DuplicateFailure.safeParse(facts);
  if (duplicates.success) return idsTaken(duplicates.data.collisions, lineOf);
  const parse = ParseFailure.safeParse(facts);
  if (parse.success) return tasksInvalid(parse.data, lineOf);
  const message = error instanceof Error ? error.message : "";
  return /^Worker (exited with code|timed out)/.test(message) ? importEnded(message) : undefined;
}

/** The importing process is the project's code and a few lines of its CLI: when it ends or hangs, the code did it. */
function importEnded(message: string): ProjectError {
  const problem = message.replace("Worker", "The process that imports the task files");
  const hint = "Look for a task file, or something it imports, that ends the process or never returns";
  return { kind: "import_failed", message: problem, places: [], hint };
}

function nameOf(error: unknown): unknown {
  return error instanceof Error ? error.name : undefined;
}

function importFailed(errors: readonly { file: string; message: string; stack?: string | undefined }[], projectDir: string): ProjectError {
  const places = errors.map(({ file, message, stack = "" }): Place => {
    const found = placeInText(stack, projectDir) ?? { file: file === "" ? "trigger.config.ts" : file };
    return { ...found, message: firstLine(message) };
  });
  const hint = "Task files are imported to list their tasks: what they need at import must be there without a run";
  return { kind: "import_failed", message: "A task file throws when it is imported", places, hint };
}

async function idsTaken(collisions: readonly { id: string; filePaths: string[] }[], lineOf: LineOf): Promise<ProjectError> {
  const places: Place[] = [];
  for (const { id, filePaths } of collisions) {
    for (const file of new Set(filePaths)) {
      const lines = await lineOf(file, id);
      if (lines.length === 0) places.push({ file, message: `"${id}"` });
      for (const line of lines) places.push({ file, line, message: `"${id}"` });
    }
  }
  const ids = collisions.map(({ id }) => `"${id}"`).join(", ");
  const hint = "Task ids are unique in a project: rename all but one";
  return { kind: "task_id_taken", message: `More than one task has the id ${ids}`, places, hint };
}

async function tasksInvalid({ zodIssues, tasks }: z.infer<typeof ParseFailure>, lineOf: LineOf): Promise<ProjectError> {
  const places: Place[] = [];
  for (const { path, message } of zodIssues) {
    const task = tasks[Number(path.find((part) => typeof part === "number"))];
    const file = task?.filePath ?? "trigger.config.ts";
    const [line] = task?.id === undefined ? [] : await lineOf(file, task.id);
    places.push({ file, ...(line !== undefined && { line }), message: `${path.join(".")}: ${message}` });
  }
  return { kind: "task_invalid", message: "A task has settings that cannot be read", places, hint: "" };
}

/** The first position in `text` that lies in the project and not in one of its packages. */
export function placeInText(text: string, projectDir: string): Place | undefined {
  for (const match of text.matchAll(/(?:file:\/\/)?(\/[^\s():]+):(\d+)(?::(\d+))?/g)) {
    const [, path = "", line, column] = match;
    const file = relative(projectDir, path);
    if (file.startsWith("..") || isAbsolute(file) || /(^|\/)(node_modules|\.trigger)\//.test(file)) continue;
    return { file, line: Number(line), ...(column !== undefined && { column: Number(column) }) };
  }
  return undefined;
}

function firstLine(text: string): string {
  return text.trim().split("\n")[0] ?? "";
}
