// Templates as what memory images are a difference to: a sandbox that was cloned from one shares half of its pages with it.
import { gibToBytes } from "@torpor/kernel";
import { join } from "node:path";
import type { FoundBase, SandboxKind } from "../snapshots/pageBases.ts";
import type { TemplateManifest } from "./templateFiles.ts";

const PAGES = "pages.img";

/** The template of the same image, and best of the same machine; undefined when there is none. Pure. */
export function templateBase(
  manifests: readonly TemplateManifest[],
  templatesDir: string,
  { imageDigest, machine }: SandboxKind,
): FoundBase | undefined {
  const ofImage = manifests.filter((manifest) => manifest.imageDigest === imageDigest);
  const isSame = ({ cpu, memoryGb }: TemplateManifest) => cpu === machine.cpu && gibToBytes(memoryGb) === machine.memoryBytes;
  const manifest = ofImage.find(isSame) ?? ofImage[0];
  const pages = manifest?.files.find(({ name }) => name === PAGES);
  if (manifest === undefined || pages === undefined) return undefined;
  return { id: `${manifest.key.slice(0, 16)}-${pages.sha256.slice(0, 32)}`, path: join(templatesDir, manifest.key, PAGES) };
}
