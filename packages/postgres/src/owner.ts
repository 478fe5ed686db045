import { chown, readFile, stat } from "node:fs/promises";
import { dirname } from "node:path";

/** The user under whom the server runs. */
export interface ServerOwner {
  /** undefined when we are not root and it runs as we do. */
  readonly ids: { readonly uid: number; readonly gid: number } | undefined;
  /** Hands a file or folder over. */
  own(path: string): Promise<void>;
  /** Whether this user gets to a folder: every folder above it must let it through. */
  reaches(path: string): Promise<boolean>;
}

/** PostgreSQL refuses to be root: a system user `postgres` is preferred, `nobody` is everywhere. */
const CANDIDATES = ["postgres", "nobody"];

export async function serverOwner(): Promise<ServerOwner> {
  if (process.getuid?.() !== 0) return { ids: undefined, own: () => Promise.resolve(), reaches: () => Promise.resolve(true) };
  const lines = (await readFile("/etc/passwd", "utf8")).split("\n").map((line) => line.split(":"));
  for (const name of CANDIDATES) {
    const entry = lines.find((fields) => fields[0] === name);
    const [uid, gid] = [Number(entry?.[2]), Number(entry?.[3])];
    if (entry === undefined || !(uid > 0) || !Number.isInteger(gid)) continue;
    return { ids: { uid, gid }, own: (path) => chown(path, uid, gid), reaches: (path) => reaches(path, uid, gid) };
  }
  throw new Error(
    `Cannot run PostgreSQL as root: /etc/passwd has neither ${CANDIDATES.join(" nor ")}. Set DATABASE_URL to use another server`,
  );
}

async function reaches(path: string, uid: number, gid: number): Promise<boolean> {
  for (let folder = dirname(path); ; folder = dirname(folder)) {
    const { mode, uid: owner, gid: group } = await stat(folder);
    const bit = owner === uid ? 0o100 : group === gid ? 0o010 : 0o001;
    if ((mode & bit) === 0) return false;
    if (folder === dirname(folder)) return true;
  }
}
