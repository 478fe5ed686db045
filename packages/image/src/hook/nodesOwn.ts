// Functions that JavaScript does not reach, by a library that calls them: see `base/hookFiles.ts`.
import { fileURLToPath } from "node:url";

interface ForeignLibrary {
  func(declaration: string): (...args: unknown[]) => unknown;
}

/** A function that is part of Node's own binary, or of the C library. */
export function nodesOwn(declaration: string): (...args: unknown[]) => unknown {
  const loaded = { exports: {} as { load(path: null): ForeignLibrary } };
  process.dlopen(loaded, fileURLToPath(new URL("./koffi.node", import.meta.url)));
  return loaded.exports.load(null).func(declaration);
}

/**
 * Gives back to the kernel what compiling has taken and freed, some 50 MB: else it would be saved with the template, and restored
 * into each clone. A C library that cannot do so keeps it.
 */
export function giveBackFreed(): void {
  try {
    nodesOwn("int malloc_trim(size_t pad)")(0);
  } catch {
    // only the template is larger
  }
}
