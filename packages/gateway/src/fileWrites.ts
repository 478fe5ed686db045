import { open, rename, writeFile } from "node:fs/promises";
import { dirname } from "node:path";

/** Replaces a file in one step: readers, and the next start after a kill, see the old or the new content. */
export async function writeWhole(path: string, content: string): Promise<void> {
  await writeFile(`${path}.tmp`, content, { mode: 0o600 });
  await rename(`${path}.tmp`, path);
}

/** Writes a file or folder through to the disk. */
export async function syncPath(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Renames so that the new name survives a power cut. */
export async function renameDurably(from: string, to: string): Promise<void> {
  await rename(from, to);
  await syncPath(dirname(to));
}

/** The `code` of an error of the operating system. */
export function codeOf(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
}

/** Replaces a file in one step, so that it survives a power cut; readable by its owner alone. */
export async function writeDurably(path: string, content: string | Uint8Array): Promise<void> {
  const handle = await open(`${path}.tmp`, "w", 0o600);
  try {
    await handle.writeFile(content);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await renameDurably(`${path}.tmp`, path);
}
