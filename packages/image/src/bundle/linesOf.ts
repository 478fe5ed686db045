import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { LineOf } from "./explain.ts";

/** Finds the lines (1-based) of a project's file on which a text stands in quotes; none when the file cannot be read. */
export function linesOf(projectDir: string): LineOf {
  return async (file, text) => {
    const source = await readFile(join(projectDir, file), "utf8").catch(() => "");
    return linesWith(source, text);
  };
}

export function linesWith(source: string, text: string): number[] {
  const quoted = ['"', "'", "`"].map((quote) => quote + text + quote);
  return source.split("\n").flatMap((line, index) => (quoted.some((form) => line.includes(form)) ? [index + 1] : []));
}
