// Which shared libraries an executable needs, and where its loader looks for them.
import { execFile } from "node:child_process";
import { access } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";

/** glibc before 2.34 opens these by name when it resolves hosts and users; `ldd` does not show them. */
const NAME_SERVICE_LIBRARIES = ["libnss_files.so.2", "libnss_dns.so.2", "libresolv.so.2"];

export type LddOutput = { kind: "static" } | { kind: "dynamic"; paths: string[]; missing: string[] };

/** Reads what `ldd` prints (C locale). The kernel's own `linux-vdso` has no path and is left out. */
export function parseLdd(output: string): LddOutput {
  if (/not a dynamic executable|statically linked/.test(output)) return { kind: "static" };
  const paths: string[] = [];
  const missing: string[] = [];
  for (const line of output.split("\n")) {
    const found = /^\s*(?:\S+ => )?(\/\S+) \(0x[0-9a-f]+\)$/.exec(line)?.[1];
    const absent = /^\s*(\S+) => not found$/.exec(line)?.[1];
    if (found !== undefined) paths.push(found);
    if (absent !== undefined) missing.push(absent);
  }
  return { kind: "dynamic", paths, missing };
}

/** Absolute paths of every library and of the loader that `executable` needs. Throws when one is missing on this host. */
export async function librariesOf(executable: string): Promise<string[]> {
  const output = parseLdd(await runLdd(executable));
  if (output.kind === "static") return [];
  if (output.missing.length > 0) throw new Error(`Cannot find ${output.missing.join(", ")}, which ${executable} needs`);
  const libc = output.paths.find((path) => path.endsWith("/libc.so.6"));
  return [...output.paths, ...(libc === undefined ? [] : await nameServiceLibraries(dirname(libc)))];
}

async function runLdd(executable: string): Promise<string> {
  const env = { ...process.env, LC_ALL: "C" };
  try {
    const { stdout } = await promisify(execFile)("ldd", [executable], { env, timeout: 30_000 });
    return stdout;
  } catch (error) {
    const stderr = error instanceof Error && "stderr" in error ? String(error.stderr) : "";
    if (parseLdd(stderr).kind === "static") return stderr;
    throw new Error(`Cannot list the shared libraries of ${executable} with ldd`, { cause: error });
  }
}

async function nameServiceLibraries(folder: string): Promise<string[]> {
  const found: string[] = [];
  for (const name of NAME_SERVICE_LIBRARIES) {
    const path = join(folder, name);
    if (await exists(path)) found.push(path);
  }
  return found;
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
