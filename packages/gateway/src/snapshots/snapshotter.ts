// Snapshots from their request to their end: written, held, committed or thawed.
//
//   H1  A held sandbox is thawed by itself when its deadline passes, when its callback is refused, and when nobody is left to decide.
//   H2  Commit destroys the sandbox first, and only then may the image be restored (L5). A kill in between is finished by the next start.
//   H3  Cancel, commit and abort may be repeated: after a lost answer the same call gets the same answer.
//   H4  Wake beats sleep (L4): a cancel ends the freeze in whatever phase it is.
import { MemoryImageId, TorporError, type RunnerId, type SnapshotBody } from "@torpor/contracts";
import { newIdBody, type Timer } from "@torpor/kernel";
import type { Core } from "../core.ts";
import { concludeExit, endSandbox } from "../sandboxes/ending.ts";
import type { PendingSnapshot } from "../sandboxes/record.ts";
import type { Sandbox } from "../sandboxes/sandboxTable.ts";
import type { Delivery, Outbox } from "./callback.ts";
import { callbackBody } from "./callbackBody.ts";
import { EndedHolds } from "./endedHolds.ts";
import { admissionFacts, admitSnapshot } from "./admission.ts";
import { measureSnapshot, runSnapshot, thawOrEnd, type CancelReason, type SnapshotEnd, type SnapshotJob } from "./snapshotJob.ts";

export interface SnapshotterOptions {
  /** Snapshots that write at once; more are refused, not queued: a disk that is behind gets farther behind. */
  readonly maxWriting: number;
  /** How long a sandbox is held when the caller names no time. */
  readonly defaultHoldMs: number;
}

/** A callback about a sandbox that is not held is repeated for this long. */
const CALLBACK_MS = 10 * 60_000;

interface Running {
  readonly job: SnapshotJob;
  readonly done: Promise<void>;
}

export class Snapshotter {
  readonly #core: Core;
  readonly #outbox: Outbox;
  readonly #options: SnapshotterOptions;
  readonly #running = new Map<string, Running>();
  readonly #deadlines = new Map<MemoryImageId, Timer>();
  readonly #ended = new EndedHolds();
  readonly #commits = new Map<MemoryImageId, Promise<void>>();
  /** Originals that a commit has not yet seen destroyed. */
  readonly #dying = new Map<MemoryImageId, Sandbox>();

  constructor(core: Core, outbox: Outbox, options: SnapshotterOptions) {
    this.#core = core;
    this.#outbox = outbox;
    this.#options = options;
  }

  /** Begins a snapshot and returns its id; the end is told by callback. */
  async begin(name: RunnerId, body: SnapshotBody): Promise<MemoryImageId> {
    const { table, clock, random } = this.#core;
    const facts = await admissionFacts(this.#core, name);
    // Nothing is awaited from here on until the sandbox is seen to freeze
    const { sandbox, room } = admitSnapshot(this.#core, name, { ...facts, isBusy: this.#running.size >= this.#options.maxWriting });
    const imageId = MemoryImageId.parse(`mem_${newIdBody(clock.nowMs(), random)}`);
    const holdMs = body.extensions?.includes("hold") === true ? (body.hold_ms ?? this.#options.defaultHoldMs) : null;
    const pending: PendingSnapshot = { memoryImageId: imageId, callback: body.callback, holdMs, heldUntilMs: null };
    const written = table.move(sandbox, "freeze", { snapshot: pending });
    const job: SnapshotJob = { sandbox, imageId, holdMs, room, abort: new AbortController(), phaseMs: {} };
    const done = sandbox.serial.run(() => written.then(() => this.#carryOut(job, pending)));
    this.#running.set(sandbox.record.id, { job, done });
    void this.#whenOver(job, done);
    return imageId;
  }

  /** Ends a snapshot in flight, or thaws a held sandbox (H3, H4). Resolves when the sandbox goes on. */
  async cancel(name: RunnerId, reason: CancelReason = "canceled"): Promise<"thawed" | "none"> {
    const sandbox = this.#core.table.find(name);
    if (sandbox === undefined) return "none";
    const running = this.#running.get(sandbox.record.id);
    if (running !== undefined) {
      running.job.abort.abort(reason);
      await running.done.catch(() => undefined); // told where it was begun
    }
    const held = sandbox.record.state === "held" ? sandbox.record.snapshot?.memoryImageId : undefined;
    if (held !== undefined) return await this.abort(held);
    return running === undefined ? "none" : "thawed";
  }

  /** Destroys the held sandbox and makes its memory image restorable (H2, H3). Who asks again meanwhile gets the first one's answer. */
  async commit(imageId: MemoryImageId, keepMs = 0): Promise<void> {
    const underWay = this.#commits.get(imageId);
    if (underWay !== undefined) return await underWay;
    const commit = this.#commit(imageId, keepMs).finally(() => this.#commits.delete(imageId));
    this.#commits.set(imageId, commit);
    await commit;
  }

  async #commit(imageId: MemoryImageId, keepMs: number): Promise<void> {
    const { memory } = this.#core;
    const phase = memory.phase(imageId);
    if (phase === "stored" || phase === "reserved" || phase === "consumed" || this.#ended.get(imageId) === "committed") return;
    if (this.#ended.get(imageId) === "thawed")
      throw new TorporError("snapshot_stale", `Cannot commit ${imageId}: its sandbox was thawed and goes on`);
    if (phase === undefined) throw new TorporError("memory_image_gone", `Cannot commit ${imageId}: this node does not have it`);
    if (phase === "writing") throw new TorporError("snapshot_stale", `Cannot commit ${imageId}: it is still being written`);
    const sandbox = this.#holderOf(imageId) ?? this.#dying.get(imageId);
    if (sandbox === undefined) return await this.#finishCommit(imageId, undefined, 0);
    await sandbox.serial.run(async () => {
      if (memory.phase(imageId) === undefined)
        throw new TorporError("snapshot_stale", `Cannot commit ${imageId}: its sandbox was thawed and goes on`);
      await this.#finishCommit(imageId, sandbox, keepMs);
    });
  }

  /** Thaws the held sandbox and deletes its memory image (H3). `none`: there was nothing to thaw. */
  async abort(imageId: MemoryImageId): Promise<"thawed" | "none"> {
    const { memory } = this.#core;
    if (this.#ended.get(imageId) === "thawed") return "thawed";
    const writing = [...this.#running.values()].find(({ job }) => job.imageId === imageId);
    if (writing !== undefined && memory.phase(imageId) !== "held") return await this.cancel(writing.job.sandbox.record.name);
    const sandbox = this.#holderOf(imageId);
    if (sandbox === undefined) return "none";
    return await sandbox.serial.run(async () => {
      if (memory.phase(imageId) !== "held") return this.#ended.get(imageId) === "thawed" ? "thawed" : "none";
      await this.#thaw(sandbox, imageId);
      return "thawed";
    });
  }

  /** A sandbox ended: a snapshot in flight is over; a held image stays, since a frozen sandbox loses nothing by being killed. */
  onExit(sandbox: Sandbox): void {
    this.#running.get(sandbox.record.id)?.job.abort.abort("sandbox_gone" satisfies CancelReason);
  }

  /** Before a sandbox is deleted: ends what is under way, and deletes an image that nobody can commit any more (L7). */
  async release(sandbox: Sandbox): Promise<void> {
    const running = this.#running.get(sandbox.record.id);
    running?.job.abort.abort("sandbox_gone" satisfies CancelReason);
    await running?.done.catch(() => undefined); // told where it was begun
    const imageId = sandbox.record.snapshot?.memoryImageId;
    if (imageId === undefined || this.#core.memory.phase(imageId) !== "held") return;
    this.#disarm(imageId);
    this.#ended.set(imageId, "thawed");
    await this.#core.memory.remove(imageId);
  }

  /** Takes over a held sandbox of an earlier process, for the rest of its time. */
  resumeHold(sandbox: Sandbox, pending: PendingSnapshot): void {
    this.#arm(sandbox, pending.memoryImageId, Math.max(0, (pending.heldUntilMs ?? 0) - this.#core.clock.nowMs()));
  }

  /** What follows from how a callback ended, for this process's and for an earlier one's. */
  async delivered(imageId: MemoryImageId, delivery: Delivery): Promise<void> {
    if (delivery === "acknowledged") return;
    this.#core.log.warn({ memoryImage: imageId, delivery }, "nobody took a snapshot's callback");
    const phase = this.#core.memory.phase(imageId);
    if (phase === "held") return await this.#expire(imageId, `callback_${delivery}`);
    if (phase === "stored") await this.#core.memory.remove(imageId); // nobody knows of it
  }

  /** Ends everything: snapshots in flight are cancelled, held sandboxes thawed, kept ones destroyed. */
  async close(): Promise<void> {
    const names = this.#core.table.all().filter((sandbox) => sandbox.record.state === "freezing" || sandbox.record.state === "held");
    await Promise.all(names.map((sandbox) => this.cancel(sandbox.record.name, "shutdown")));
    await Promise.all([...this.#running.values()].map(({ done }) => done.catch(() => undefined)));
    for (const timer of this.#deadlines.values()) timer.cancel();
    await this.#core.frozen.close();
  }

  async #carryOut(job: SnapshotJob, pending: PendingSnapshot): Promise<void> {
    const { table, metrics, log, clock } = this.#core;
    const { sandbox, imageId } = job;
    const startedMs = clock.monotonicMs();
    const end = await runSnapshot(this.#core, job);
    metrics.count("torpor_gateway_snapshots_total", { outcome: end.kind === "failed" ? end.reason : end.kind });
    log.info(
      { sandbox: sandbox.record.id, memoryImage: imageId, ...end, ...job.phaseMs, durationMs: clock.monotonicMs() - startedMs },
      "a snapshot ended",
    );
    if (end.kind === "held" && job.holdMs !== null) {
      const heldUntilMs = clock.nowMs() + job.holdMs;
      await table.move(sandbox, "hold", { snapshot: { ...pending, heldUntilMs } });
      this.#arm(sandbox, imageId, job.holdMs);
    } else if (sandbox.record.state !== "gone") {
      await table.move(sandbox, "thaw", { snapshot: null }); // else it was removed while what was written of it was deleted
    }
    measureSnapshot(this.#core, end);
    await this.#tell(job, pending, end, clock.monotonicMs() - startedMs);
    if (end.kind !== "held") await concludeExit(this.#core, sandbox);
  }

  async #whenOver({ sandbox, room }: SnapshotJob, done: Promise<void>): Promise<void> {
    await done.catch((err: unknown) => this.#core.log.error({ err, sandbox: sandbox.record.id }, "a snapshot failed unforeseen"));
    this.#running.delete(sandbox.record.id);
    await room.release();
  }

  async #tell(job: SnapshotJob, pending: PendingSnapshot, end: SnapshotEnd, durationMs: number): Promise<void> {
    const body = JSON.stringify(callbackBody(job, pending, end, Math.round(durationMs)));
    const untilMs = this.#core.clock.nowMs() + (end.kind === "held" ? (job.holdMs ?? CALLBACK_MS) : CALLBACK_MS);
    await this.#outbox.send({ memoryImageId: job.imageId, url: pending.callback.url, body, untilMs }, (delivery) =>
      this.delivered(job.imageId, delivery),
    );
  }

  #holderOf(imageId: MemoryImageId): Sandbox | undefined {
    return this.#core.table.all().find((sandbox) => sandbox.record.snapshot?.memoryImageId === imageId);
  }

  /** H2. Each step may have been done before we were killed. */
  async #finishCommit(imageId: MemoryImageId, sandbox: Sandbox | undefined, keepMs: number): Promise<void> {
    const { memory, frozen } = this.#core;
    this.#disarm(imageId);
    if (memory.phase(imageId) === "held") await memory.move(imageId, "commit");
    const isKept = sandbox?.record.state === "held" && (await frozen.keep(sandbox, keepMs));
    if (sandbox !== undefined && !isKept) {
      this.#dying.set(imageId, sandbox);
      await endSandbox(this.#core, sandbox); // throws when something of it is left: then the next commit goes on here
      this.#dying.delete(imageId);
    }
    if (memory.phase(imageId) === "committing") await memory.move(imageId, "store");
    this.#ended.set(imageId, "committed");
  }

  async #thaw(sandbox: Sandbox, imageId: MemoryImageId): Promise<void> {
    this.#disarm(imageId);
    this.#ended.set(imageId, "thawed");
    await thawOrEnd(this.#core, sandbox);
    await this.#core.table.move(sandbox, "thaw", { snapshot: null });
    await this.#core.memory.remove(imageId);
    await concludeExit(this.#core, sandbox);
  }

  #arm(sandbox: Sandbox, imageId: MemoryImageId, delayMs: number): void {
    this.#core.log.debug({ sandbox: sandbox.record.id, memoryImage: imageId, delayMs }, "a sandbox is held");
    const onDeadline = (): void => {
      void this.#expire(imageId, "hold_expired").catch((error: unknown) =>
        this.#core.log.error({ err: error, memoryImage: imageId }, "cannot thaw a held sandbox"),
      );
    };
    this.#deadlines.set(imageId, this.#core.clock.after(delayMs, onDeadline));
  }

  #disarm(imageId: MemoryImageId): void {
    this.#deadlines.get(imageId)?.cancel();
    this.#deadlines.delete(imageId);
  }

  /** H1. */
  async #expire(imageId: MemoryImageId, reason: string): Promise<void> {
    const sandbox = this.#holderOf(imageId);
    if ((await this.abort(imageId)) !== "thawed" || sandbox === undefined) return;
    const { name, id, state } = sandbox.record;
    if (state === "running") this.#core.events.push({ type: "thawed", name, id, exitCode: null, reason });
  }
}
