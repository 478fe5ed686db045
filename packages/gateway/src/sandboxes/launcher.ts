// Starts sandboxes, from an image or from a memory image.
//
//   S1  A request is known by its name and body: the same again gets the same answer, also after a restart and after its
//       sandbox ended, until it is deleted. Another body for a name in use is refused.
//   S2  What certainly did not start is told apart from what may have.
//   S3  A memory image is checked, then consumed, then run (L6). If it certainly did not run it is given back; else it is deleted (L7).
import { TorporError, type CreateInstanceBody, type MemoryImageId, type RestoreBody } from "@torpor/contracts";
import { gibToBytes, newIdBody } from "@torpor/kernel";
import type { Core } from "../core.ts";
import type { SandboxImage, SandboxSpec } from "../drivers/driver.ts";
import { UNREADABLE } from "../snapshots/memoryImages.ts";
import { isFree } from "../snapshots/frozenTier.ts";
import { imageMismatch, whyTooSmall } from "../snapshots/manifest.ts";
import { startFresh, type FreshStart } from "../templates/startFresh.ts";
import type { Spare, Spares } from "../templates/spares.ts";
import type { Machine } from "../templates/templateKey.ts";
import type { Templates } from "../templates/templates.ts";
import { refuseImage, restoreImage, type Restoring } from "./restoring.ts";
import { endSandbox } from "./ending.ts";
import { requestHash, type SandboxRecord } from "./record.ts";
import type { Sandbox } from "./sandboxTable.ts";
import type { Started, Starts } from "./starts.ts";

export interface LauncherOptions {
  readonly starts: Starts;
  readonly templates: Templates;
  readonly spares: Spares;
}

export interface StartReply extends Started {
  readonly start?: FreshStart["start"];
  readonly start_reason?: string;
  readonly extensions?: string[];
}

/** Beyond the shared contract, for who asks by name: see `RestoreBody`. */
const RESERVE = "reserve";

export class Launcher {
  readonly #core: Core;
  readonly #options: LauncherOptions;
  readonly #starts: Starts;

  constructor(core: Core, options: LauncherOptions) {
    this.#core = core;
    this.#options = options;
    this.#starts = options.starts;
  }

  /** Starts a sandbox from an image (S1, S2). */
  async create(body: CreateInstanceBody): Promise<StartReply> {
    const hash = requestHash(["create", body]);
    const repeated = await this.#starts.repeated(body.name, hash);
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
    const reply = await this.#starts.launch(record, async () => {
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
    const repeated = await this.#starts.repeated(body.name, hash);
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
    const small = whyTooSmall(manifest, gibToBytes(body.memory_gb));
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
    return await this.#starts.launch(record, () => {
      spare?.use();
      return restoreImage(this.#core, { ...restoring, spec });
    });
  }

  /** A sandbox that was kept frozen goes on where it stood, when it is what is asked for; else it makes way. */
  async #thaw(imageId: MemoryImageId, body: RestoreBody, hash: string): Promise<StartReply | undefined> {
    const { frozen, table, log } = this.#core;
    const kept = frozen.holderOf(imageId)?.record;
    if (kept === undefined) return undefined;
    const isSame = kept.cpu === body.cpu && kept.memoryBytes === gibToBytes(body.memory_gb);
    if (!isSame || this.#starts.isClosed || !isFree(table, body.name)) return void (await frozen.drop(imageId, "other_machine"));
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
      memoryBytes: gibToBytes(body.memory_gb),
      address: null,
      createdAtMs: clock.nowMs(),
      endedAtMs: null,
      exit: null,
      snapshot: null,
      ...more,
    };
  }
}

/** A spare's id is its sandbox's. */
function idOf(spare: Spare | undefined): { readonly id?: string } {
  return spare === undefined ? {} : { id: spare.id };
}

function specOf(record: SandboxRecord, image: SandboxImage, env: Readonly<Record<string, string>>): SandboxSpec {
  return { id: record.id, image, env, cpu: record.cpu, memoryBytes: record.memoryBytes, metadata: record.guestMetadata };
}
