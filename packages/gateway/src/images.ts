import { access } from "node:fs/promises";
import { TorporError } from "@torpor/contracts";
import { findImage, installApp, type InstalledApp } from "@torpor/image";
import type { SandboxImage } from "./drivers/driver.ts";

/** Where sandboxes' images come from. */
export interface ImageSource {
  /** The image that a reference names. Throws `request_unprocessable` when there is none, saying what was looked for. */
  find(reference: string): Promise<SandboxImage>;
}

/** So many descriptions are kept in memory: an image never changes, and its description can be a megabyte of JSON. */
const KEPT = 64;

/** Images of a store that deployments wrote: `<stateDir>/images/`. */
export function storedImages(stateDir: string): ImageSource {
  const known = new Map<string, SandboxImage>();
  return {
    async find(reference) {
      const cached = known.get(reference);
      if (cached !== undefined && (await exists(cached.rootfs))) return cached;
      const image = await readImage(stateDir, reference);
      known.set(reference, image);
      const oldest = known.keys().next();
      if (known.size > KEPT && oldest.done !== true) known.delete(oldest.value);
      return image;
    },
  };
}

async function readImage(stateDir: string, reference: string): Promise<SandboxImage> {
  const found = await findImage(stateDir, reference);
  if (found.kind === "refused") {
    throw new TorporError("request_unprocessable", `Cannot use image ${reference}: ${WHY[found.reason]} (looked in ${stateDir}/images)`, {
      param: "image",
    });
  }
  const { image, rootfs } = found.stored;
  return { digest: image.digest, rootfs, ...image.run };
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

const WHY = {
  bad_reference: "it must end in @sha256:<digest>, as a deployment names it",
  absent: "this node does not have it; deploy again, or copy it here",
} as const;

/** Copies the app of a stored image to a folder of the host, so that it can run there without a sandbox. */
export async function installStored(stateDir: string, digest: string, appDir: string): Promise<InstalledApp> {
  const found = await findImage(stateDir, `sha256-${digest}`);
  if (found.kind === "refused") throw new Error(`Cannot install image ${digest}: ${WHY[found.reason]}`);
  return await installApp(found.stored, appDir);
}
