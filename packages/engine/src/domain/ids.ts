import { newIdBody, randomText, type Random } from "@torpor/kernel";

// Ids inside are the bodies of the friendly ones: `run_abc` is stored as `abc`.

export type IdPrefix = "run" | "snapshot" | "waitpoint" | "batch" | "checkpoint" | "queue" | "worker" | "deployment";

export function friendly(prefix: IdPrefix, body: string): string {
  return `${prefix}_${body}`;
}

/** The body of a friendly id, or undefined when it is of another kind or no id at all. A bare body is taken as it is. */
export function bodyOf(prefix: IdPrefix, id: string): string | undefined {
  const at = id.indexOf("_");
  if (at === -1) return /^[0-9A-Za-z]{1,64}$/.test(id) ? id : undefined;
  const body = id.slice(at + 1);
  return id.slice(0, at) === prefix && /^[0-9A-Za-z]{1,64}$/.test(body) ? body : undefined;
}

export function newId(nowMs: number, random: Random): string {
  return newIdBody(nowMs, random);
}

const SEQ_LENGTH = 6;

/**
 * A snapshot's id begins with its number within the run, at a fixed width: runners compare ids as strings to tell old
 * from new, and the clocks of two processes may disagree.
 */
export function snapshotIdBody(seq: number, random: Random): string {
  return seq.toString(36).padStart(SEQ_LENGTH, "0") + randomText(random, 19);
}

/** The number in a snapshot's id, or undefined when it cannot be one. */
export function seqOf(snapshotBody: string): number | undefined {
  const seq = Number.parseInt(snapshotBody.slice(0, SEQ_LENGTH), 36);
  return snapshotBody.length > SEQ_LENGTH && Number.isSafeInteger(seq) && seq <= 2 ** 31 - 1 ? seq : undefined;
}
