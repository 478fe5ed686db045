// What lies beside the files of a memory image: everything that must fit before it is restored, checked before anything starts.
import { RunnerId, MemoryImageId } from "@torpor/contracts";
import { createHash } from "node:crypto";
import { z } from "zod";

/** sha256 (hex) of each piece of `HASH_CHUNK_BYTES`: pieces can be checked on several cores, and damage has a place. */
export const FileEntry = z.object({
  name: z.string().regex(/^[\w.-]+$/),
  sizeBytes: z.number().int().nonnegative(),
  chunks: z.array(z.string().regex(/^[0-9a-f]{64}$/)),
});
export type FileEntry = z.infer<typeof FileEntry>;

export const Manifest = z.object({
  schema: z.literal(1),
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
  readonly memoryBytes: number;
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
  if (expected.memoryBytes < manifest.machine.memoryBytes)
    return `it was saved on a machine with ${manifest.machine.memoryBytes} bytes of memory, and ${expected.memoryBytes} are too few`;
  return undefined;
}

export function sizeOf(manifest: Pick<Manifest, "files">): number {
  return manifest.files.reduce((sum, file) => sum + file.sizeBytes, 0);
}

/** The text of a manifest file: a line with the sha256 of the rest, so that damage to the manifest itself is seen too. */
export function sealManifest(manifest: Manifest): string {
  const json = JSON.stringify(manifest);
  return `${sha256(json)}\n${json}\n`;
}

/** Undefined when not every byte is as it was written. */
export function openManifest(text: string): Manifest | undefined {
  const [sum = "", json = "", rest] = text.split("\n");
  if (rest !== "" || sha256(json) !== sum) return undefined;
  const parsed = Manifest.safeParse(JSON.parse(json));
  return parsed.success ? parsed.data : undefined;
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
