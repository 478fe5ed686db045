// Starts sandboxes, from an image or from a memory image.
//
//   S1  A request is known by its name and body: the same again gets the same answer, also after a restart and after its
//       sandbox ended, until it is deleted. Another body for a name in use is refused.
//   S2  What certainly did not start is told apart from what may have.
//   S3  A memory image is checked, then consumed, then run (L6). If it certainly did not run it is given back; else it is deleted (L7).
import { TorporError, type CreateInstanceBody, type MemoryImageId, type RestoreBody } from "@torpor/contracts";
import { Limiter, newIdBody } from "@torpor/kernel";
import type { Core } from "../core.ts";
import type { SandboxImage, SandboxSpec, StartOutcome } from "../drivers/driver.ts";
import { UNREADABLE } from "../snapshots/memoryImages.ts";
import { isFree } from "../snapshots/frozenTier.ts";
import { imageMismatch, whyTooSmall } from "../snapshots/manifest.ts";
import { startFresh, type FreshStart } from "../templates/startFresh.ts";
import type { Spare, Spares } from "../templates/spares.ts";
import type { Machine } from "../templates/templateKey.ts";
import type { Templates } from "../templates/templates.ts";
import { refuseImage, restoreImage, type Restoring } from "./restoring.ts";
import { concludeExit, endSandbox } from "./ending.ts";
import { requestHash, type SandboxRecord } from "./record.ts";
import type { Sandbox } from "./sandboxTable.ts";

export interface LauncherOptions {
  /** Starts at once; each takes about a CPU second. */
  readonly maxStarts: number;
  /** Starts that wait for their turn; more are refused. */
  readonly maxWaitingStarts: number;
  readonly templates: Templates;
  readonly spares: Spares;
}

export interface StartReply {
  readonly id: string;
  readonly address: string | null;
  readonly _timing?: Record<string, number>;
  readonly start?: FreshStart["start"];
  readonly start_reason?: string;
  readonly extensions?: string[];
}

/** Beyond the shared contract, for who asks by name: see `RestoreBody`. */
const RESERVE = "reserve";

const GIB = 1024 ** 3;
const NEVER = new AbortController().signal;

export class Launcher {
  readonly #core: Core;
  readonly #options: LauncherOptions;
  readonly #limiter: Limiter;
  #closed = false;

  constructor(core: Core, options: LauncherOptions) {
    this.#core = core;
    this.#options = options;
    this.#limiter = new Limiter({ limit: options.maxStarts, maxWaiting: options.maxWaitingStarts });
  }

  /** Whether a sandbox is being started, or waits for its turn. */
  get isStarting(): boolean {
    return this.#limiter.runningCount > 0;
  }

  /** From now on nothing starts; what is starting goes on. */
  close(): void {
    this.#closed = true;
  }

  /** Starts a sandbox from an image (S1, S2). */
  async create(body: CreateInstanceBody): Promise<StartReply> {
    const hash = requestHash(["create", body]);
    const repeated = await this.#repeat(body.name, hash);
    if (repeated !== undefined) return repeated;
    const image = await this.#core.images.find(body.image);
    const machine = { cpu: body.cpu, memoryGb: body.memory_gb };
    return await this.#options.spares.lend(image, machine, "start", (spare) => this.#createWith(body, { hash, image, machine, spare }));
  }

  async #createWith(
    body: CreateInstanceBody,
    {
      hash,
      image,
      machine,
      spare,
    }: { readonly hash: string; readonly image: SandboxImage; readonly machine: Machine; readonly spare: Spare | undefined },
  ): Promise<StartReply> {
    const record = this.#newRecord(body, hash, {
      ...idOf(spare),
      labels: body.labels ?? {},
      restoredFrom: null,
      image: body.image,
      imageDigest: image.digest,
      metadata: body.metadata,
      guestMetadata: {},
    });
    let how: Pick<FreshStart, "start" | "start_reason"> | undefined;
    const reply = await this.#launch(record, async () => {
      const fresh = { spec: specOf(record, image, body.env), machine, spare };
      const { outcome, ...rest } = await startFresh(this.#core, this.#options.templates, fresh);
      how = rest;
      return outcome;
    });
    return { ...reply, ...how };
  }

  /** Consumes a memory image and runs it (S1, S2, S3). */
  async restore(imageId: MemoryImageId, body: RestoreBody): Promise<StartReply> {
    const { memory, driver, images } = this.#core;
    const hash = requestHash(["restore", imageId, body]);
    const extensions = (body.extensions ?? []).filter((extension) => extension === RESERVE);
    const granted = extensions.length === 0 ? {} : { extensions };
    const repeated = await this.#repeat(body.name, hash);
    if (repeated !== undefined) return { ...repeated, ...granted };
    const thawed = await this.#thaw(imageId, body, hash);
    if (thawed !== undefined) return { ...thawed, extensions: [...extensions, "thawed"] };
    const manifest = await memory.restorable(imageId);
    if (manifest === undefined) return await refuseImage(this.#core, imageId, UNREADABLE);
    const image = await images
      .find(manifest.image)
      .catch((error: unknown) => refuseImage(this.#core, imageId, `its task image cannot be used: ${(error as Error).message}`));
    const mismatch = imageMismatch(manifest, { fingerprint: driver.fingerprint, imageDigest: image.digest });
    if (mismatch !== undefined) return await refuseImage(this.#core, imageId, mismatch);
    const small = whyTooSmall(manifest, Math.round(body.memory_gb * GIB));
    if (small !== undefined) throw new TorporError("memory_image_refused", `Cannot restore ${imageId}: ${small}`); // it fits a larger one
    const machine = { cpu: body.cpu, memoryGb: body.memory_gb };
    const reply = await this.#options.spares.lend(image, machine, "wake", (spare) =>
      this.#restoreWith(body, { hash, image, imageId, manifest, spare, isReserved: extensions.length > 0 }),
    );
    return { ...reply, ...granted };
  }

  async #restoreWith(
    body: RestoreBody,
    {
      hash,
      image,
      spare,
      ...restoring
    }: Omit<Restoring, "spec"> & { readonly hash: string; readonly image: SandboxImage; readonly spare: Spare | undefined },
  ): Promise<StartReply> {
    const { manifest, imageId } = restoring;
    const record = this.#newRecord(body, hash, {
      ...idOf(spare),
      labels: body.labels ?? manifest.labels,
      restoredFrom: imageId,
      image: manifest.image,
      imageDigest: image.digest,
      metadata: {},
      guestMetadata: body.metadata,
    });
    const spec = specOf(record, image, {});
    return await this.#launch(record, () => {
      spare?.use();
      return restoreImage(this.#core, { ...restoring, spec });
    });
  }

  /** A sandbox that was kept frozen goes on where it stood, when it is what is asked for; else it makes way. */
  async #thaw(imageId: MemoryImageId, body: RestoreBody, hash: string): Promise<StartReply | undefined> {
    const { frozen, table, log } = this.#core;
    const kept = frozen.holderOf(imageId)?.record;
    if (kept === undefined) return undefined;
    const isSame = kept.cpu === body.cpu && kept.memoryBytes === Math.round(body.memory_gb * GIB);
    if (!isSame || this.#closed || !isFree(table, body.name)) return void (await frozen.drop(imageId, "other_machine"));
    const { name, metadata, labels = kept.labels } = body;
    const renewal = { name, requestHash: hash, restoredFrom: imageId, labels, guestMetadata: metadata };
    const result = await frozen.thaw(imageId, renewal, body.extensions?.includes(RESERVE) === true);
    if (result?.kind === "unknown")
      throw new TorporError("sandbox_maybe_started", `Cannot tell whether ${body.name} ran: it could not be thawed: ${result.message}`);
    if (result?.kind !== "thawed") return undefined;
    log.info({ sandbox: result.id, name: body.name, memoryImage: imageId }, "a kept sandbox goes on");
    return { id: result.id, address: result.address };
  }

  /** Ends a sandbox and frees its name. The caller has ended what was under way with it. Throws when something could not be freed. */
  async delete(sandbox: Sandbox): Promise<void> {
    await sandbox.serial.run(async () => {
      await endSandbox(this.#core, sandbox);
      await this.#core.table.forget(sandbox);
    });
  }

  /** The answer that this very request got, or undefined when it is new (S1). Waits for a start that is under way. */
  async #repeat(name: SandboxRecord["name"], hash: string): Promise<StartReply | undefined> {
    const known = this.#core.table.find(name);
    if (known === undefined) return undefined;
    if (known.record.requestHash !== hash) {
      if (known.record.state === "gone") return undefined;
      throw new TorporError(
        "name_taken",
        `Cannot use name ${name}: instance ${known.record.id} has it, and was asked for with another body`,
        { param: "name" },
      );
    }
    if (known.record.state === "starting") await known.serial.idle();
    if (this.#core.table.find(name) !== known) return undefined; // that start failed and was forgotten
    return { id: known.record.id, address: known.record.address };
  }

  #newRecord(
    body: CreateInstanceBody | RestoreBody,
    hash: string,
    more: Pick<SandboxRecord, "labels" | "restoredFrom" | "image" | "imageDigest" | "metadata" | "guestMetadata"> & {
      readonly id?: string;
    },
  ): SandboxRecord {
    const { clock, random } = this.#core;
    return {
      id: `sbx${newIdBody(clock.nowMs(), random)}`,
      name: body.name,
      state: "starting",
      requestHash: hash,
      cpu: body.cpu,
      memoryBytes: Math.round(body.memory_gb * GIB),
      address: null,
      createdAtMs: clock.nowMs(),
      endedAtMs: null,
      exit: null,
      snapshot: null,
      ...more,
    };
  }

  async #launch(record: SandboxRecord, start: () => Promise<StartOutcome>): Promise<StartReply> {
    const { table, clock, metrics } = this.#core;
    const how = record.restoredFrom === null ? "create" : "restore";
    let full = await this.#core.room();
    while (full !== undefined && ((await this.#core.frozen.dropOldest("pressure")) || (await this.#options.spares.giveWay())))
      full = await this.#core.room();
    if (full !== undefined) throw new TorporError("no_capacity", `Cannot start ${record.name}: ${full}`);
    if (table.find(record.name)?.record.requestHash === record.requestHash) {
      const repeated = await this.#repeat(record.name, record.requestHash); // the same came in while we looked at the image
      if (repeated !== undefined) return repeated;
    }
    if (this.#closed) throw new TorporError("no_capacity", `Cannot start ${record.name}: this gateway is stopping`);
    const startedMs = clock.monotonicMs();
    // Taking the name and queueing the start happen before anything is awaited: nobody sees a `starting` one that is idle
    const adding = table.add(record);
    const sandbox = table.findById(record.id);
    if (sandbox === undefined) return await adding.then(() => neverAdded(record));
    return await sandbox.serial.run(async () => {
      await adding;
      const outcome = await this.#inTurn(sandbox, start);
      metrics.count("torpor_gateway_starts_total", { how, outcome: outcome.kind });
      metrics.observeMs("torpor_gateway_start_seconds", clock.monotonicMs() - startedMs, { how });
      if (outcome.kind === "started") return await this.#started(sandbox, outcome);
      if (outcome.kind === "unknown") await endSandbox(this.#core, sandbox);
      await table.forget(sandbox);
      throw startError(record, outcome);
    });
  }

  /** A start that throws did not run: what was made ready for it is destroyed, and it is forgotten. */
  async #inTurn(sandbox: Sandbox, start: () => Promise<StartOutcome>): Promise<StartOutcome> {
    try {
      const limited = await this.#limiter.run(NEVER, start);
      if (limited.kind === "done") return limited.value;
      return { kind: "refused", reason: "no_capacity", message: "too many starts are waiting on this node" };
    } catch (error) {
      await endSandbox(this.#core, sandbox);
      await this.#core.table.forget(sandbox);
      throw error;
    }
  }

  async #started(sandbox: Sandbox, outcome: StartOutcome & { kind: "started" }): Promise<StartReply> {
    const { id } = sandbox.record;
    await this.#core.table.move(sandbox, "started", { address: outcome.address });
    this.#core.log.info({ sandbox: id, name: sandbox.record.name, address: outcome.address, ...outcome.timingMs }, "a sandbox started");
    if (sandbox.exit !== null) void sandbox.serial.run(() => concludeExit(this.#core, sandbox));
    return { id, address: outcome.address, _timing: { ...outcome.timingMs } };
  }
}

/** A spare's id is its sandbox's. */
function idOf(spare: Spare | undefined): { readonly id?: string } {
  return spare === undefined ? {} : { id: spare.id };
}

function specOf(record: SandboxRecord, image: SandboxImage, env: Readonly<Record<string, string>>): SandboxSpec {
  return { id: record.id, image, env, cpu: record.cpu, memoryBytes: record.memoryBytes, metadata: record.guestMetadata };
}

/** `add` refused the name, so its promise rejects and this is not reached. */
function neverAdded(record: SandboxRecord): never {
  throw new Error(`Cannot find sandbox ${record.id} right after it was added`);
}

function startError(record: SandboxRecord, outcome: Exclude<StartOutcome, { kind: "started" }>): TorporError {
  if (outcome.kind === "unknown")
    return new TorporError("sandbox_maybe_started", `Cannot tell whether ${record.name} ran: ${outcome.message}`);
  if (outcome.reason === "no_capacity") return new TorporError("no_capacity", `Cannot start ${record.name}: ${outcome.message}`);
  if (outcome.reason === "bad_image")
    return new TorporError("request_unprocessable", `Cannot start ${record.name}: ${outcome.message}`, { param: "image" });
  return new TorporError("sandbox_not_started", `Cannot start ${record.name}: ${outcome.message}`);
}
