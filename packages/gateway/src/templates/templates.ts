// Which starts are clones, and the templates that they are cloned from.
//
//   T1  A template never stands in a run's way: without one, with a damaged one, or when cloning fails, a sandbox boots cold.
//   T2  One is made at a time, in the background, for an image that was wanted. What fails is tried again later and later.
//   T3  There are so many and they have so many bytes; of more, the one goes that was cloned longest ago. One whose image is gone,
//       or that was made by another runsc, goes too.
import { backoffMs } from "@torpor/kernel";
import type { Core } from "../core.ts";
import type { SandboxImage, StartOutcome } from "../drivers/driver.ts";
import { Serial } from "../serial.ts";
import { makeTemplate } from "./makeTemplate.ts";
import type { TemplateFiles, TemplateManifest } from "./templateFiles.ts";
import { hasHook, templateKey, type Machine } from "./templateKey.ts";

export interface TemplatesOptions {
  readonly enabled: boolean;
  readonly maxCount: number;
  readonly maxBytes: number;
}

/** Why a start is no clone. */
export type ColdReason = "templates_off" | "image_without_hook" | "no_template" | "template_failed" | "template_damaged" | "clone_failed";

export type FoundTemplate = { readonly kind: "ready"; readonly key: string } | { readonly kind: "none"; readonly reason: ColdReason };

interface Failure {
  readonly count: number;
  readonly notBeforeMs: number;
  readonly reason: ColdReason;
}

const BACKOFF = { baseMs: 30_000, factor: 4, maxMs: 3_600_000 };

export class Templates {
  readonly #core: Core;
  readonly #files: TemplateFiles;
  readonly #options: TemplatesOptions;
  readonly #making = new Map<string, Promise<string | undefined>>();
  readonly #failures = new Map<string, Failure>();
  readonly #serial = new Serial();
  readonly #closing = new AbortController();
  #onMade: (image: SandboxImage, machine: Machine) => void = () => undefined;

  constructor(core: Core, files: TemplateFiles, options: TemplatesOptions) {
    this.#core = core;
    this.#files = files;
    this.#options = options;
  }

  /** Whether this node makes templates at all. */
  get isOn(): boolean {
    const { can, output } = this.#core.driver;
    return this.#options.enabled && can.snapshot && output !== undefined;
  }

  /** Fires when this gateway stops. */
  get closing(): AbortSignal {
    return this.#closing.signal;
  }

  list(): TemplateManifest[] {
    return this.#files.list().map(({ manifest }) => manifest);
  }

  /** Whether there is such a template, by what is known of it. */
  has(key: string): boolean {
    return this.isOn && this.#files.has(key);
  }

  /** `listener` hears of each template that was made here. */
  onMade(listener: (image: SandboxImage, machine: Machine) => void): void {
    this.#onMade = listener;
  }

  /** Finds the templates of an earlier process. Call once, before the first start. */
  async load(): Promise<void> {
    await this.#files.load();
    await this.#collect();
  }

  /** The template for a start (T1). */
  async find(image: SandboxImage, machine: Machine): Promise<FoundTemplate> {
    const refusal = this.#refusal(image);
    if (refusal !== undefined) return { kind: "none", reason: refusal };
    const key = this.keyOf(image, machine);
    if (!this.#files.has(key)) return { kind: "none", reason: this.#backsOffFor(key) ?? "no_template" };
    const damage = await this.#files.damage(key);
    if (damage === undefined) return { kind: "ready", key };
    await this.distrust(key, damage, "template_damaged");
    return { kind: "none", reason: "template_damaged" };
  }

  /** Restores a prepared sandbox from a template. Undefined: it was thrown away meanwhile, and nothing happened. */
  async restore(key: string, restore: (dir: string) => Promise<StartOutcome>): Promise<StartOutcome | undefined> {
    return this.#files.has(key) ? await this.#files.use(key, this.#core.clock.nowMs(), restore) : undefined;
  }

  /** Nobody is cloned from it any more; it is made again when the time of its failures has passed (T2). */
  async distrust(key: string, why: string, reason: ColdReason = "template_failed"): Promise<void> {
    this.#core.log.warn({ template: key, reason: why }, "a template is thrown away");
    this.#failed(key, reason);
    await this.#files.remove(key);
  }

  /** Makes one in the background, unless there is one, or the last failure was a moment ago (T2). */
  want(image: SandboxImage, machine: Machine): void {
    const key = this.keyOf(image, machine);
    if (this.#refusal(image) !== undefined || this.#files.has(key) || this.#backsOffFor(key) !== undefined) return;
    void this.make(image, machine);
  }

  /** Makes one now, or joins who is at it. Returns why there is none; undefined when there is one. Never throws. */
  make(image: SandboxImage, machine: Machine): Promise<string | undefined> {
    const refusal = this.#refusal(image);
    if (refusal !== undefined) return Promise.resolve(refusal);
    const key = this.keyOf(image, machine);
    const running = this.#making.get(key);
    if (running !== undefined) return running;
    const making = this.#serial.run(() => this.#make(key, image, machine)).finally(() => this.#making.delete(key));
    this.#making.set(key, making);
    return making;
  }

  /** Ends what is being made. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#serial.idle();
  }

  async #make(key: string, image: SandboxImage, machine: Machine): Promise<string | undefined> {
    if (this.#files.has(key)) return undefined;
    const { log, metrics } = this.#core;
    try {
      if (this.#closing.signal.aborted) throw new Error("this gateway is stopping");
      const full = (await this.#core.room()) ?? (await this.#core.diskRoom());
      if (full !== undefined) throw new Error(full);
      await makeTemplate(this.#core, this.#files, { key, image, machine }, this.#closing.signal);
      this.#failures.delete(key);
      metrics.count("torpor_gateway_templates_total", { outcome: "made" });
      await this.#collect();
      this.#onMade(image, machine);
      return undefined;
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      if (!this.#closing.signal.aborted) log.warn({ template: key, image: image.digest, reason }, "a template could not be made");
      metrics.count("torpor_gateway_templates_total", { outcome: "failed" });
      this.#failed(key, "template_failed");
      return reason;
    }
  }

  #refusal(image: SandboxImage): ColdReason | undefined {
    if (!this.isOn) return "templates_off";
    return hasHook(image) ? undefined : "image_without_hook";
  }

  /** Names the template of this image and machine, whether there is one or not. */
  keyOf(image: SandboxImage, machine: Machine): string {
    return templateKey(image, machine, this.#core.driver.fingerprint);
  }

  /** Why none is made at the moment; undefined when one may be. */
  #backsOffFor(key: string): ColdReason | undefined {
    const failure = this.#failures.get(key);
    return failure !== undefined && this.#core.clock.nowMs() < failure.notBeforeMs ? failure.reason : undefined;
  }

  #failed(key: string, reason: ColdReason): void {
    const count = (this.#failures.get(key)?.count ?? 0) + 1;
    const { clock, random } = this.#core;
    const notBeforeMs = clock.nowMs() + backoffMs(count, { ...BACKOFF, random: () => random.unit() });
    this.#failures.set(key, { count, notBeforeMs, reason });
  }

  /** T3. */
  async #collect(): Promise<void> {
    const { images, driver, log } = this.#core;
    let count = 0;
    let bytes = 0;
    for (const { manifest, isUsed, sizeBytes } of this.#files.list().toSorted((a, b) => b.lastUsedMs - a.lastUsedMs)) {
      const image = await images.find(`sha256-${manifest.imageDigest}`).catch(() => undefined);
      const fits = image !== undefined && templateKey(image, manifest, driver.fingerprint) === manifest.key;
      if (fits && (isUsed || (count < this.#options.maxCount && bytes + sizeBytes <= this.#options.maxBytes))) {
        count++;
        bytes += sizeBytes;
        continue;
      }
      log.info({ template: manifest.key, image: manifest.imageDigest }, "a template that is not needed is removed");
      await this.#files.remove(manifest.key);
    }
  }
}
