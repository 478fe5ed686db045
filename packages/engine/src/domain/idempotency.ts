import { createHash } from "node:crypto";
import { FINAL_RUN_STATUSES, type RunStatus } from "@torpor/contracts";

const FINAL: ReadonlySet<RunStatus> = new Set(FINAL_RUN_STATUSES);

export function isFinal(status: RunStatus): boolean {
  return FINAL.has(status);
}

export interface KeyFacts {
  readonly expiresAt: Date | null;
  /** undefined: the run is gone. */
  readonly runStatus: RunStatus | undefined;
}

/** A key stands for its run until it expires, and no longer when the run ended badly: whoever asks again wants it done. */
export function keyStillCounts(facts: KeyFacts, now: Date): boolean {
  if (facts.expiresAt !== null && facts.expiresAt <= now) return false;
  if (facts.runStatus === undefined) return false;
  return !isFinal(facts.runStatus) || facts.runStatus === "COMPLETED_SUCCESSFULLY" || facts.runStatus === "CANCELED";
}

/** Longest key that is indexed as it is (bytes); PostgreSQL's indexes take no more than 2704. */
const MAX_KEY_BYTES = 512;

/** The key as it is stored: a long one by its hash. */
export function storedKey(key: string): string {
  return Buffer.byteLength(key) <= MAX_KEY_BYTES ? key : `sha256:${createHash("sha256").update(key).digest("hex")}`;
}
