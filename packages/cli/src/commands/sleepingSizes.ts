// What sleeping runs cost on the disk. Pure.
import type { MemoryImageView } from "@torpor/contracts";
import { showBytes } from "../terminal/table.ts";

export interface SleepingRun {
  readonly runId: string;
  /** On the disk. */
  readonly sizeBytes: number;
  /** As it was in memory; null from a gateway that does not tell. */
  readonly plainBytes: number | null;
  readonly since: Date;
}

export interface SleepingSizes {
  readonly count: number;
  readonly totalBytes: number;
  readonly p50Bytes: number;
  readonly p95Bytes: number;
  /** What all of them would be without compression; null when a gateway does not tell. */
  readonly plainBytes: number | null;
  /** Largest first. */
  readonly runs: readonly SleepingRun[];
}

/** Images that are held or being restored are not counted: their runs are awake, or may still be. */
export function sizesOf(images: readonly MemoryImageView[]): SleepingSizes {
  const runs = images
    .filter(({ state }) => state === "stored")
    .map((image) => ({
      runId: runIdOf(image.instanceName),
      sizeBytes: image.sizeBytes,
      plainBytes: image.plainBytes ?? null,
      since: image.createdAt,
    }))
    .toSorted((a, b) => b.sizeBytes - a.sizeBytes);
  const sizes = runs.map(({ sizeBytes }) => sizeBytes);
  const plain = runs.map(({ plainBytes }) => plainBytes);
  return {
    count: runs.length,
    totalBytes: sum(sizes),
    p50Bytes: percentile(sizes, 0.5),
    p95Bytes: percentile(sizes, 0.95),
    plainBytes: plain.every((bytes) => bytes !== null) ? sum(plain) : null,
    runs,
  };
}

/** So many are shown to people; `--json` has all. */
const SHOWN = 5;

/** The lines of `status` about them. `quotaBytes`: how much disk they may take. */
export function showSizes(sizes: SleepingSizes, quotaBytes: number | null): string[] {
  const quota = quotaBytes === null ? "" : ` of ${showBytes(quotaBytes)}`;
  const before = sizes.plainBytes === null || sizes.count === 0 ? "" : `, ${showBytes(sizes.plainBytes)} before compression`;
  const head = `asleep     ${sizes.count} on disk, ${showBytes(sizes.totalBytes)}${quota} (each p50 ${showBytes(sizes.p50Bytes)}, p95 ${showBytes(sizes.p95Bytes)}${before})`;
  const lines = sizes.runs.slice(0, SHOWN).map(({ runId, sizeBytes }) => `           ${runId}  ${showBytes(sizeBytes)}`);
  const more = sizes.count > SHOWN ? [`           and ${sizes.count - SHOWN} more: see --json`] : [];
  return [head, ...lines, ...more];
}

/** A runner carries its run's id in its name. */
function runIdOf(instanceName: string): string {
  const body = /^runner-([a-z0-9]+)/.exec(instanceName)?.[1];
  return body === undefined ? instanceName : `run_${body}`;
}

/** The smallest size that is at least as large as `share` of all, from sizes in falling order. */
function percentile(falling: readonly number[], share: number): number {
  return falling[falling.length - Math.ceil(falling.length * share)] ?? 0;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, one) => total + one, 0);
}
