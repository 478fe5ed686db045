// A folder as data: every path with its kind, mode and content. Owners and times are left out, so that the same content
// has the same digest whoever built it and whenever.
import { createHash, type Hash } from "node:crypto";
import { createReadStream } from "node:fs";
import { lstat, open, readdir, readlink } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";

export type TreeEntry =
  | { kind: "directory"; path: string; mode: number }
  | { kind: "file"; path: string; mode: number; sizeBytes: number; sha256: string }
  | { kind: "link"; path: string; target: string };

/** Everything below `root`, sorted by path. Throws on sockets, devices and pipes: they have no place in an image. */
export async function readTree(root: string): Promise<TreeEntry[]> {
  const entries: TreeEntry[] = [];
  await collect(root, "", entries);
  return entries.toSorted((a, b) => (a.path < b.path ? -1 : 1));
}

async function collect(root: string, below: string, into: TreeEntry[]): Promise<void> {
  for (const name of await readdir(join(root, below))) {
    const path = below === "" ? name : `${below}/${name}`;
    const entry = await readEntry(root, path);
    into.push(entry);
    if (entry.kind === "directory") await collect(root, path, into);
  }
}

async function readEntry(root: string, path: string): Promise<TreeEntry> {
  const absolute = join(root, path);
  const stats = await lstat(absolute);
  const mode = stats.mode & 0o7777;
  if (stats.isDirectory()) return { kind: "directory", path, mode };
  if (stats.isSymbolicLink()) return { kind: "link", path, target: await readlink(absolute) };
  if (!stats.isFile()) throw new Error(`Cannot put ${absolute} into an image: it is neither file, folder nor link`);
  return { kind: "file", path, mode, sizeBytes: stats.size, sha256: await sha256OfFile(absolute) };
}

async function sha256OfFile(path: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(path, { highWaterMark: 1024 * 1024 }), hash);
  return hash.digest("hex");
}

/** The sha256 (hex) over the paths, kinds, modes and contents of `entries`, and over `extra`, which is canonical JSON. */
export function treeDigest(entries: readonly TreeEntry[], extra = ""): string {
  const hash = createHash("sha256");
  for (const entry of entries) updateWith(hash, entry);
  return hash.update(extra).digest("hex");
}

function updateWith(hash: Hash, entry: TreeEntry): void {
  const content = entry.kind === "file" ? entry.sha256 : entry.kind === "link" ? entry.target : "";
  const mode = entry.kind === "link" ? "" : entry.mode.toString(8);
  hash.update(JSON.stringify([entry.kind, entry.path, mode, content])).update("\n");
}

/** Writes everything below `root` through to the disk: an image that was announced must outlive a power cut. */
export async function syncTree(root: string, entries: readonly TreeEntry[]): Promise<void> {
  for (const entry of entries) if (entry.kind !== "link") await syncPath(join(root, entry.path));
  await syncPath(root);
}

/** Writes one file or folder through to the disk. */
export async function syncPath(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
