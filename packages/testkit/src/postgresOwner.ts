import { chown, readFile } from "node:fs/promises";

/** The user under whom the server runs. */
export interface ServerOwner {
  /** For `spawn`; empty when we are not root and it runs as we do. */
  readonly ids: { readonly uid?: number; readonly gid?: number };
  /** Hands a file or folder over. */
  own(path: string): Promise<void>;
}

/** PostgreSQL refuses to be root: a system user `postgres` is preferred, `nobody` is everywhere. */
const CANDIDATES = ["postgres", "nobody"];

export async function serverOwner(): Promise<ServerOwner> {
  if (process.getuid?.() !== 0) return { ids: {}, own: () => Promise.resolve() };
  const lines = (await readFile("/etc/passwd", "utf8")).split("\n").map((line) => line.split(":"));
  for (const name of CANDIDATES) {
    const entry = lines.find((fields) => fields[0] === name);
    const [uid, gid] = [Number(entry?.[2]), Number(entry?.[3])];
    if (entry !== undefined && uid > 0 && Number.isInteger(gid)) return { ids: { uid, gid }, own: (path) => chown(path, uid, gid) };
  }
  throw new Error(`Cannot run PostgreSQL as root: /etc/passwd has neither ${CANDIDATES.join(" nor ")}. Set DATABASE_URL to use another server`);
}
