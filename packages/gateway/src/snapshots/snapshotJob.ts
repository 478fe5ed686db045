// One snapshot, from a running sandbox to a memory image that is safe on disk. It can be cancelled in every phase (L4):
//
//   not yet frozen     nothing has happened; it ends at once
//   frozen, writing    the write is cut off and the sandbox thawed. The sandbox's kernel finishes the write it is in, 1 s per GB, first
//   hashing, syncing   the sandbox is thawed at once
//
// Whatever happens, the sandbox runs again when the job ends, unless the job succeeded with `hold`, or the sandbox is gone.
import type { MemoryImageId, SnapshotFailure } from "@torpor/contracts";
import { sleep } from "@torpor/kernel";
import type { Core } from "../core.ts";
import { codeOf } from "../fileWrites.ts";
import type { Sandbox } from "../sandboxes/sandboxTable.ts";

export interface SnapshotJob {
  readonly sandbox: Sandbox;
  readonly imageId: MemoryImageId;
  readonly holdMs: number | null;
  /** Aborted with the reason: why the snapshot is not wanted any more. */
  readonly abort: AbortController;
}

export type CancelReason = "canceled" | "shutdown" | "sandbox_gone";

export type SnapshotEnd =
  | { readonly kind: "held" | "stored"; readonly frozenMs: number; readonly sizeBytes: number }
  | { readonly kind: "failed"; readonly reason: SnapshotFailure; readonly message: string };

/** Why a job was cut off. */
export function cancelReason(job: SnapshotJob): CancelReason | undefined {
  return job.abort.signal.aborted ? (job.abort.signal.reason as CancelReason) : undefined;
}

/** Carries the job out. Never throws for what disks and sandboxes do. Leaves no file behind when it fails (L7). */
export async function runSnapshot(core: Core, job: SnapshotJob): Promise<SnapshotEnd> {
  let end: SnapshotEnd;
  try {
    end = await freezeAndWrite(core, job);
  } catch (error) {
    const reason = codeOf(error) === "ENOSPC" || codeOf(error) === "EDQUOT" ? "disk_full" : "checkpoint_failed";
    end = failed(reason, error instanceof Error ? error.message : String(error));
  }
  if (end.kind === "failed") {
    await thawOrEnd(core, job.sandbox); // first: the task has waited enough
    await core.memory.remove(job.imageId);
  }
  return end;
}

async function freezeAndWrite(core: Core, job: SnapshotJob): Promise<SnapshotEnd> {
  const { clock, driver, memory } = core;
  const { sandbox, imageId } = job;
  const dir = await memory.begin(imageId);
  const before = canceled(job);
  if (before !== undefined) return before;
  const startedMs = clock.monotonicMs();
  const frozen = await driver.freeze(sandbox.record.id);
  if (frozen.kind === "gone") return failed("sandbox_gone", "it was gone before it could be frozen");
  if (frozen.kind === "failed") return failed("checkpoint_failed", frozen.message);
  const atOnce = canceled(job);
  if (atOnce !== undefined) return atOnce;
  const saved = await memory.syncWhile(imageId, driver.save(sandbox.record.id, dir, job.abort.signal));
  if (saved.kind === "failed") return canceled(job) ?? failed(saved.reason, saved.message);
  if (saved.kind === "canceled") return canceled(job) ?? failed("canceled", "it was cancelled");
  return job.holdMs === null ? await goOnAndKeep(core, job, startedMs) : await keepFrozen(core, job, startedMs);
}

/** The sandbox's memory is in the files: it goes on while they are made safe. */
async function goOnAndKeep(core: Core, job: SnapshotJob, startedMs: number): Promise<SnapshotEnd> {
  await thawOrEnd(core, job.sandbox);
  const frozenMs = core.clock.monotonicMs() - startedMs;
  await complete(core, job, frozenMs);
  const late = canceled(job);
  if (late !== undefined) return late;
  await core.memory.move(job.imageId, "store");
  return { kind: "stored", frozenMs, sizeBytes: core.memory.sizeBytes(job.imageId) };
}

async function keepFrozen(core: Core, job: SnapshotJob, startedMs: number): Promise<SnapshotEnd> {
  const completing = complete(core, job, core.clock.monotonicMs() - startedMs);
  const first = await Promise.race([completing.then(() => "complete" as const), aborted(job.abort.signal)]);
  if (first === "aborted") {
    await thawOrEnd(core, job.sandbox); // at once; the files are nobody's any more
    await completing.catch(() => undefined); // it reads files that are deleted next: its failure is no news
  }
  const late = canceled(job);
  if (late !== undefined) return late;
  await core.memory.move(job.imageId, "hold");
  return { kind: "held", frozenMs: core.clock.monotonicMs() - startedMs, sizeBytes: core.memory.sizeBytes(job.imageId) };
}

async function complete(core: Core, { sandbox, imageId }: SnapshotJob, frozenMs: number): Promise<void> {
  const { record } = sandbox;
  await core.memory.complete(imageId, {
    instanceId: record.id,
    instanceName: record.name,
    image: record.image,
    imageDigest: record.imageDigest,
    fingerprint: { ...core.driver.fingerprint },
    machine: { cpu: record.cpu, memoryBytes: record.memoryBytes },
    address: record.address,
    labels: record.labels,
    createdAtMs: core.clock.nowMs(),
    frozenMs,
  });
}

function aborted(signal: AbortSignal): Promise<"aborted"> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve("aborted");
    else signal.addEventListener("abort", () => resolve("aborted"), { once: true });
  });
}

function canceled(job: SnapshotJob): SnapshotEnd | undefined {
  const reason = cancelReason(job);
  return reason === undefined ? undefined : failed(reason, `the snapshot was cut off: ${reason}`);
}

function failed(reason: SnapshotFailure, message: string): SnapshotEnd {
  return { kind: "failed", reason, message };
}

const THAW_TRIES = 5;
const THAW_FIRST_WAIT_MS = 50;

/**
 * Lets a sandbox go on. When it cannot, that is left in `sandbox.exit`, and whoever called ends the sandbox: one that stands
 * still for ever looks alive to everybody, and is worse than none.
 */
export async function thawOrEnd(core: Core, sandbox: Sandbox): Promise<void> {
  const { id } = sandbox.record;
  for (let attempt = 1; attempt <= THAW_TRIES; attempt++) {
    const thawed = await core.driver.thaw(id);
    if (thawed.kind === "thawed") return;
    if (thawed.kind === "gone") return void (sandbox.exit ??= { exitCode: null, reason: "killed_while_frozen" });
    core.log.error({ sandbox: id, attempt, text: thawed.message }, "cannot thaw a sandbox");
    await sleep(core.clock, THAW_FIRST_WAIT_MS * 2 ** attempt);
  }
  sandbox.exit ??= { exitCode: null, reason: "cannot_be_thawed" };
}
