// One snapshot, from a running sandbox to a memory image that is safe on disk. It can be cancelled in every phase (L4):
//
//   not yet frozen     nothing has happened; it ends at once
//   frozen, writing    the write is cut off and the sandbox thawed. The sandbox's kernel finishes the write it is in, 1 s per GB, first
//   sealing            it is cut off between two pieces, and the sandbox thawed
//
// Whatever happens, the sandbox runs again when the job ends, unless the job succeeded with `hold`, or the sandbox is gone.
import type { MemoryImageId, SnapshotFailure } from "@torpor/contracts";
import { sleep } from "@torpor/kernel";
import type { Core } from "../core.ts";
import { codeOf } from "../fileWrites.ts";
import type { Sandbox } from "../sandboxes/sandboxTable.ts";
import { whyBeyondQuota } from "./quotaKeeper.ts";
import type { StagedRoom } from "./stagingArea.ts";

export interface SnapshotJob {
  readonly sandbox: Sandbox;
  readonly imageId: MemoryImageId;
  readonly holdMs: number | null;
  /** Where its memory is written to, in clear and never on a disk. */
  readonly room: StagedRoom;
  /** Aborted with the reason: why the snapshot is not wanted any more. */
  readonly abort: AbortController;
  /** How long each phase took that was reached, in milliseconds. */
  readonly phaseMs: Partial<Record<SnapshotPhase, number>>;
}

/** `freeze`: until it stands still; `save`: until its memory is in the staging area; `seal`: until it is on the disk. */
export type SnapshotPhase = "freeze" | "save" | "seal";

export type CancelReason = "canceled" | "shutdown" | "sandbox_gone";

export type SnapshotEnd =
  | { readonly kind: "held" | "stored"; readonly frozenMs: number; readonly sizeBytes: number; readonly plainBytes: number }
  | { readonly kind: "failed"; readonly reason: SnapshotFailure; readonly message: string };

/** Why a job was cut off. */
export function cancelReason(job: SnapshotJob): CancelReason | undefined {
  return job.abort.signal.aborted ? (job.abort.signal.reason as CancelReason) : undefined;
}

/** Carries the job out. Never throws for what disks and sandboxes do. Leaves no file and no key behind when it fails (L7, L16). */
export async function runSnapshot(core: Core, job: SnapshotJob): Promise<SnapshotEnd> {
  let end: SnapshotEnd;
  try {
    end = await freezeAndWrite(core, job);
  } catch (error) {
    end = canceled(job) ?? failedBy(error);
  }
  await job.room.release(); // before it is thawed: until then what was staged counts as memory of the sandbox
  if (end.kind === "failed") {
    await thawOrEnd(core, job.sandbox); // first: the task has waited enough
    await core.memory.remove(job.imageId);
  }
  return end;
}

async function freezeAndWrite(core: Core, job: SnapshotJob): Promise<SnapshotEnd> {
  const { clock, driver, memory } = core;
  const { sandbox, imageId } = job;
  const [dir] = await Promise.all([job.room.open(), memory.begin(imageId)]);
  const before = canceled(job);
  if (before !== undefined) return before;
  const startedMs = clock.monotonicMs();
  const frozen = await timed(core, job, "freeze", () => driver.freeze(sandbox.record.id));
  if (frozen.kind === "gone") return failed("sandbox_gone", "it was gone before it could be frozen");
  if (frozen.kind === "failed") return failed("checkpoint_failed", frozen.message);
  const atOnce = canceled(job);
  if (atOnce !== undefined) return atOnce;
  const saved = await timed(core, job, "save", () => driver.save(sandbox.record.id, dir, job.abort.signal));
  if (saved.kind === "failed") return canceled(job) ?? failed(saved.reason, saved.message);
  if (saved.kind === "canceled") return canceled(job) ?? failed("canceled", "it was cancelled");
  await timed(core, job, "seal", () => seal(core, job, dir, clock.monotonicMs() - startedMs));
  const tooMuch = await whyBeyondQuota(core, 0);
  if (tooMuch !== undefined) return failed("quota_exceeded", tooMuch);
  return canceled(job) ?? (await settle(core, job, startedMs));
}

/** Its memory is safe: the sandbox stays frozen until somebody decides, or goes on at once. */
async function settle(core: Core, job: SnapshotJob, startedMs: number): Promise<SnapshotEnd> {
  const { clock, memory } = core;
  await job.room.release();
  if (job.holdMs === null) await thawOrEnd(core, job.sandbox);
  const frozenMs = clock.monotonicMs() - startedMs;
  const late = canceled(job);
  if (late !== undefined) return late;
  await memory.move(job.imageId, job.holdMs === null ? "store" : "hold");
  return {
    kind: job.holdMs === null ? "stored" : "held",
    frozenMs,
    sizeBytes: memory.sizeBytes(job.imageId),
    plainBytes: memory.plainBytes(job.imageId),
  };
}

/** Measures a phase, whatever became of it. */
async function timed<T>({ clock, metrics }: Core, job: SnapshotJob, phase: SnapshotPhase, work: () => Promise<T>): Promise<T> {
  const startedMs = clock.monotonicMs();
  try {
    return await work();
  } finally {
    const tookMs = clock.monotonicMs() - startedMs;
    job.phaseMs[phase] = Math.round(tookMs);
    metrics.observeMs("torpor_gateway_snapshot_phase_seconds", tookMs, { phase });
  }
}

async function seal(core: Core, { sandbox, imageId, abort }: SnapshotJob, dir: string, frozenMs: number): Promise<void> {
  const { record } = sandbox;
  const facts = {
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
  };
  await core.memory.seal(imageId, dir, facts, abort.signal);
}

/** Notes what a snapshot that came to something took. */
export function measureSnapshot({ metrics }: Core, end: SnapshotEnd): void {
  if (end.kind === "failed") return;
  metrics.observeMs("torpor_gateway_frozen_seconds", end.frozenMs);
  metrics.observeBytes("torpor_gateway_memory_image_bytes", end.sizeBytes);
  metrics.observeBytes("torpor_gateway_memory_image_plain_bytes", end.plainBytes);
}

function canceled(job: SnapshotJob): SnapshotEnd | undefined {
  const reason = cancelReason(job);
  return reason === undefined ? undefined : failed(reason, `the snapshot was cut off: ${reason}`);
}

/** What went wrong is told by its kind: an error's own words may name anything. */
function failedBy(error: unknown): SnapshotEnd {
  const code = codeOf(error);
  if (code === "ENOSPC" || code === "EDQUOT") return failed("disk_full", "the disk of the memory images is full");
  return failed("checkpoint_failed", `its memory could not be stored${code === undefined ? "" : `: ${code}`}`);
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
