// What can be wrong with the user's project. Each is a value: it is theirs to mend, and nothing has been changed.
import { z } from "zod";

export const ProjectErrorKind = z.enum([
  "config_missing",
  "config_invalid",
  "lockfile_missing",
  "cli_missing",
  "sdk_missing",
  "version_unsupported",
  "feature_unsupported",
  "build_failed",
  "install_failed",
  "import_failed",
  "task_invalid",
  "task_id_taken",
  "no_tasks",
]);
export type ProjectErrorKind = z.infer<typeof ProjectErrorKind>;

export const Place = z.object({
  /** Relative to the project's folder. */
  file: z.string(),
  line: z.number().int().positive().optional(),
  column: z.number().int().positive().optional(),
  /** What is wrong at this place, when the error's own message does not say it. */
  message: z.string().optional(),
});
export type Place = z.infer<typeof Place>;

export const ProjectError = z.object({
  kind: ProjectErrorKind,
  /** One sentence: what is wrong. */
  message: z.string(),
  places: z.array(Place),
  /** What to do about it. */
  hint: z.string(),
});
export type ProjectError = z.infer<typeof ProjectError>;

/** The error as lines for a terminal: what, where, and what to do. */
export function formatProjectError(error: ProjectError): string {
  const places = error.places.map((place) => `  ${formatPlace(place)}`);
  return [error.message, ...places, error.hint].filter((line) => line !== "").join("\n");
}

function formatPlace({ file, line, column, message }: Place): string {
  const position = [file, line, column].filter((part) => part !== undefined).join(":");
  return message === undefined ? position : `${position}  ${message}`;
}
