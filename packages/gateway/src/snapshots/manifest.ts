// What lies beside the files of a memory image: everything that must fit before it is restored, checked before anything starts.
import { RunnerId, MemoryImageId } from "@torpor/contracts";
import { createHmac, timingSafeEqual } from "node:crypto";
import { z } from "zod";
import type { ImageKey } from "./imageKey.ts";
import { Encoding } from "./sealedFile.ts";

/** A sealed file: where each of its pieces lies, as offset, length and encoding. */
export const FileEntry = z.object({
  name: z.string().regex(/^[\w.-]+$/),
  /** As the sandbox's memory had it. */
  sizeBytes: z.number().int().nonnegative(),
  /** As it lies on the disk. */
  sealedBytes: z.number().int().nonnegative(),
  /** What some of its pieces are a difference to. */
  base: z.string().optional(),
  chunks: z.array(z.tuple([z.number().int().nonnegative(), z.number().int().positive(), Encoding])),
});
export type FileEntry = z.infer<typeof FileEntry>;

export const Manifest = z.object({
  schema: z.literal(3),
  id: MemoryImageId,
  instanceId: z.string(),
  instanceName: RunnerId,
  /** Reference and digest of the task image: a memory image fits no other. */
  image: z.string(),
  imageDigest: z.string(),
  /** What it was saved with: driver, version, platform. */
  fingerprint: z.record(z.string(), z.string()),
  machine: z.object({ cpu: z.number(), memoryBytes: z.number() }),
  /** Address that the guest had; it gets another when it is restored. */
  address: z.string().nullable(),
  labels: z.record(z.string(), z.string()),
  createdAtMs: z.number(),
  frozenMs: z.number(),
  files: z.array(FileEntry).min(1),
});
export type Manifest = z.infer<typeof Manifest>;

export interface Expected {
  readonly fingerprint: Readonly<Record<string, string>>;
  readonly imageDigest: string;
}

/** Why this node cannot run an image, or undefined when it can. Pure: the files themselves are checked elsewhere. */
export function imageMismatch(manifest: Manifest, expected: Expected): string | undefined {
  const keys = new Set([...Object.keys(manifest.fingerprint), ...Object.keys(expected.fingerprint)]);
  for (const key of keys) {
    const [was, is] = [manifest.fingerprint[key], expected.fingerprint[key]];
    if (was !== is) return `it was saved with ${key} ${was ?? "none"}, and this node has ${is ?? "none"}`;
  }
  if (manifest.imageDigest !== expected.imageDigest)
    return `it was saved with task image ${manifest.imageDigest}, and ${manifest.image} is ${expected.imageDigest} here`;
  return undefined;
}

/** Why a machine of `memoryBytes` is too small for an image, or undefined. */
export function whyTooSmall({ machine }: Manifest, memoryBytes: number): string | undefined {
  if (memoryBytes >= machine.memoryBytes) return undefined;
  return `it was saved on a machine with ${machine.memoryBytes} bytes of memory, and ${memoryBytes} are too few`;
}

/** Bytes of its files on the disk. */
export function sealedSizeOf({ files }: Pick<Manifest, "files">): number {
  return files.reduce((sum, { sealedBytes }) => sum + sealedBytes, 0);
}

/** Bytes of its files as a sandbox is restored from them. */
export function plainSizeOf({ files }: Pick<Manifest, "files">): number {
  return files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
}

/** The text of a manifest file: a line that signs the rest with the image's key. It holds nothing of the guest's, and is in clear. */
export function signManifest(manifest: Manifest, key: ImageKey): string {
  const json = JSON.stringify(manifest);
  return `${signature(json, manifest.id, key)}\n${json}\n`;
}

/** Undefined when not every byte is as it was written, for this image. */
export function openManifest(text: string, id: MemoryImageId, key: ImageKey): Manifest | undefined {
  const [found = "", json = "", rest] = text.split("\n");
  const wanted = Buffer.from(signature(json, id, key));
  const given = Buffer.from(found);
  if (rest !== "" || given.length !== wanted.length || !timingSafeEqual(given, wanted)) return undefined;
  const parsed = Manifest.safeParse(JSON.parse(json));
  return parsed.success && parsed.data.id === id ? parsed.data : undefined;
}

function signature(json: string, id: MemoryImageId, key: ImageKey): string {
  return createHmac("sha256", key.forManifest(id)).update(json).digest("hex");
}
