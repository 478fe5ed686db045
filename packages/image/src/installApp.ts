// The app of an image outside a sandbox: its manifests name files below /app, which is nobody's folder on a host.
import { cp, readFile, writeFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { APP_DIR } from "./bundle/bundleProject.ts";
import { movePaths } from "./bundle/movePaths.ts";
import type { StoredImage } from "./image.ts";

const MANIFESTS = ["build.json", "index.json"];

export interface InstalledApp {
  /** The runner's working directory. */
  dir: string;
  /** The runner's controller, to be started with Node in `dir`. */
  controller: string;
}

/** Copies the app into `dir`, which must be absent or empty, with manifests that name files there. */
export async function installApp({ image, rootfs }: StoredImage, dir: string): Promise<InstalledApp> {
  await cp(join(rootfs, APP_DIR), dir, { recursive: true, verbatimSymlinks: true });
  for (const name of MANIFESTS) {
    const manifest: unknown = JSON.parse(await readFile(join(dir, name), "utf8"));
    await writeFile(join(dir, name), JSON.stringify(movePaths(manifest, APP_DIR, dir), null, 2));
  }
  const controller = image.run.args.at(-1);
  if (controller === undefined) throw new Error(`Cannot start image ${image.digest}: it names no controller`);
  return { dir, controller: join(dir, relative(APP_DIR, controller)) };
}
