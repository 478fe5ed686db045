// Frozen sandboxes that are kept in memory beside their memory image, while there is memory to spare: a wake here thaws one where it
// stood, in a tenth of the time that a restore takes.
//
//   F1  A kept sandbox is a cache and nothing else. Its memory image is whole on the disk and may be restored; whoever does so gets
//       the sandbox thawed, or it is destroyed first: never both (L5, L6).
//   F2  It goes when its time is over, when its bound or its memory is needed, when its image is deleted, and with this process.
//   F3  Off unless the operator gives it bytes: then a run that sleeps holds no memory and no process, for which it was put to sleep.
import type { MemoryImageId, RunnerId } from "@torpor/contracts";
import type { Timer } from "@torpor/kernel";
import type { Core } from "../core.ts";
import { endSandbox } from "../sandboxes/ending.ts";
import type { SandboxRecord } from "../sandboxes/record.ts";
import type { Sandbox } from "../sandboxes/sandboxTable.ts";

export type FrozenTierParts = Pick<Core, "clock" | "log" | "metrics" | "driver" | "table" | "memory">;

export interface FrozenTierOptions {
  /** Memory that kept sandboxes may take together; 0: none is kept. */
  readonly maxBytes: number;
  /** Whether the machine has memory to spare. */
  readonly isPlentiful: () => Promise<boolean>;
}

/** Why a kept sandbox is destroyed. */
export type DropReason = "expired" | "bound" | "pressure" | "image_deleted" | "ended" | "other_machine" | "shutdown";

/** What a thawed sandbox is from then on. */
export type Renewal = Pick<SandboxRecord, "name" | "requestHash" | "restoredFrom" | "labels" | "guestMetadata"> & {
  readonly restoredFrom: MemoryImageId;
};

export type ThawResult =
  | { readonly kind: "thawed"; readonly id: string; readonly address: string | null }
  /** It is gone, and nothing of it has run since: its memory image may be restored. */
  | { readonly kind: "gone" }
  | { readonly kind: "unknown"; readonly message: string };

const LOOK_EVERY_MS = 5_000;

export class FrozenTier {
  readonly #parts: FrozenTierParts;
  readonly #options: FrozenTierOptions;
  /** In the order in which they were kept. */
  readonly #kept = new Map<MemoryImageId, { readonly sandbox: Sandbox; readonly bytes: number; readonly timer: Timer }>();
  #look: Timer | null = null;

  constructor(parts: FrozenTierParts, options: FrozenTierOptions) {
    this.#parts = parts;
    this.#options = options;
  }

  get isOn(): boolean {
    return this.#options.maxBytes > 0;
  }

  /** The sandbox that was kept with this memory image. */
  holderOf(imageId: MemoryImageId): Sandbox | undefined {
    const sandbox = this.#kept.get(imageId)?.sandbox;
    return sandbox?.record.state === "kept" ? sandbox : undefined;
  }

  /** Keeps a held sandbox whose memory is on disk. False: it does not fit, or is not worth it; then it is the caller's to destroy. */
  async keep(sandbox: Sandbox, keepMs: number): Promise<boolean> {
    const { driver, table, clock, metrics } = this.#parts;
    const imageId = sandbox.record.snapshot?.memoryImageId;
    if (!this.isOn || keepMs <= 0 || imageId === undefined || sandbox.exit !== null) return false;
    const bytes = (await driver.usage(sandbox.record.id))?.memoryBytes ?? sandbox.record.memoryBytes;
    if (bytes > this.#options.maxBytes || !(await this.#options.isPlentiful())) return false;
    await this.#fit(bytes);
    await table.move(sandbox, "keep");
    const timer = clock.after(keepMs, () => void this.drop(imageId, "expired"));
    this.#kept.set(imageId, { sandbox, bytes, timer });
    metrics.count("torpor_gateway_frozen_kept_total");
    this.#gauge();
    this.#watch();
    return true;
  }

  /**
   * Lets a kept sandbox go on under a new name, and takes its memory image for it (L6): for good, or, with `isReserved`, until its
   * run goes on. Undefined: none is kept.
   */
  async thaw(imageId: MemoryImageId, renewal: Renewal, isReserved: boolean): Promise<ThawResult | undefined> {
    const kept = this.#kept.get(imageId);
    if (kept === undefined) return undefined;
    this.#forget(imageId);
    return await kept.sandbox.serial.run(() => this.#thawInTurn(kept.sandbox, imageId, { renewal, isReserved }));
  }

  /** Destroys a kept sandbox. Its memory image stays. Idempotent. */
  async drop(imageId: MemoryImageId, reason: DropReason): Promise<void> {
    const kept = this.#kept.get(imageId);
    if (kept === undefined) return;
    this.#forget(imageId);
    await this.#end(kept.sandbox, reason);
  }

  /** Destroys the sandbox that was kept longest. False: there is none. */
  async dropOldest(reason: DropReason): Promise<boolean> {
    const [oldest] = this.#kept.keys();
    if (oldest === undefined) return false;
    await this.drop(oldest, reason);
    return true;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#kept.keys()].map((imageId) => this.drop(imageId, "shutdown")));
  }

  async #thawInTurn(
    sandbox: Sandbox,
    imageId: MemoryImageId,
    { renewal, isReserved }: { readonly renewal: Renewal; readonly isReserved: boolean },
  ): Promise<ThawResult> {
    const { driver, table, memory, log, metrics } = this.#parts;
    const { id, address } = sandbox.record;
    const isTaken = await memory.move(imageId, isReserved ? "reserve" : "consume").then(
      () => true,
      () => false, // somebody else restores it, or it was deleted: nobody needs this one any more
    );
    // Ready before its first instruction; a kill up to here leaves it kept, and the next start gives the image back
    const isThere = isTaken && sandbox.exit === null && (await driver.adopt(id, renewal.guestMetadata)) === "adopted";
    if (isThere) await table.renew(sandbox, renewal);
    const thawed = isThere ? await driver.thaw(id) : ({ kind: "gone" } as const);
    metrics.count("torpor_gateway_frozen_thaws_total", { outcome: thawed.kind });
    if (thawed.kind === "thawed") {
      if (!isReserved)
        memory.removeSoon(imageId, (error) => log.error({ err: error, memoryImage: imageId }, "cannot delete a memory image"));
      return { kind: "thawed", id, address };
    }
    if (thawed.kind === "failed" && !isReserved) await memory.remove(imageId); // before what may run is destroyed
    await endSandbox(this.#parts, sandbox);
    await table.forget(sandbox);
    if (thawed.kind === "failed") return { kind: "unknown", message: thawed.message };
    const phase = memory.phase(imageId);
    if (isTaken && (phase === "consumed" || phase === "reserved")) await memory.giveBack(imageId);
    return { kind: "gone" };
  }

  /** Makes room within the bound: the oldest go first. */
  async #fit(bytes: number): Promise<void> {
    while (this.#bytes() + bytes > this.#options.maxBytes && (await this.dropOldest("bound"))) continue;
  }

  #bytes(): number {
    return [...this.#kept.values()].reduce((sum, one) => sum + one.bytes, 0);
  }

  async #end(sandbox: Sandbox, reason: DropReason): Promise<void> {
    const { log, metrics } = this.#parts;
    metrics.count("torpor_gateway_frozen_dropped_total", { reason });
    await sandbox.serial
      .run(() => endSandbox(this.#parts, sandbox))
      .catch((error: unknown) => log.error({ err: error, sandbox: sandbox.record.id }, "a kept sandbox is not freed"));
  }

  #forget(imageId: MemoryImageId): void {
    this.#kept.get(imageId)?.timer.cancel();
    this.#kept.delete(imageId);
    this.#gauge();
    if (this.#kept.size > 0) return;
    this.#look?.cancel();
    this.#look = null;
  }

  #gauge(): void {
    this.#parts.metrics.gauge("torpor_gateway_frozen_kept", this.#kept.size);
    this.#parts.metrics.gauge("torpor_gateway_frozen_kept_bytes", this.#bytes());
  }

  /** While something is kept: whether others need the memory. */
  #watch(): void {
    this.#look ??= this.#parts.clock.after(LOOK_EVERY_MS, () => {
      this.#look = null;
      void this.#relieve();
    });
  }

  async #relieve(): Promise<void> {
    if (!(await this.#options.isPlentiful())) await this.dropOldest("pressure");
    if (this.#kept.size > 0) this.#watch();
  }
}

/** The name under which a sandbox is asked for must be nobody's. */
export function isFree(table: Core["table"], name: RunnerId): boolean {
  const known = table.find(name);
  return known === undefined || known.record.state === "gone";
}
