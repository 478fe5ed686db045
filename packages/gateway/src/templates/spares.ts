// Sandboxes that are made ready before anybody asks for one, so that a start finds its sandbox waiting, and a wake finds a kernel.
//
//   P1  A spare stands in nobody's way: a start that finds none makes its own sandbox, spares are made while no other starts, falls asleep or wakes, and
//       when memory gets scarce they go first.
//   P2  A spare is used once, by one sandbox, which has its id from then on. It knows nothing of whom it will be: what it is told, it is
//       told when it is taken.
//   P3  One that nobody knows (this process was killed) is destroyed by the next start, like every sandbox without a record.
import { gibToBytes, newIdBody, type Timer } from "@torpor/kernel";
import type { Core } from "../core.ts";
import type { ComputeDriver, SandboxId, SandboxImage, StartOutcome } from "../drivers/driver.ts";
import { Serial } from "../serial.ts";
import { planSpares, type KindOfSpare, type SpareStage } from "./planSpares.ts";
import type { Machine } from "./templateKey.ts";
import type { Templates } from "./templates.ts";

export interface SparesOptions {
  /** 0: none are made. */
  readonly max: number;
  /** Whether there is memory for what is only convenient. */
  readonly isPlentiful: () => Promise<boolean>;
  /** Whether a sandbox is being started, frozen or woken. */
  readonly isBusy: () => boolean;
}

/** A sandbox that is its borrower's as soon as `use` is called. */
export interface Spare {
  readonly id: SandboxId;
  readonly stage: SpareStage;
  /** From now on it is not a spare, whatever becomes of it. */
  use(): void;
}

/** What a spare is taken for. */
export type SpareNeed = "start" | "wake";

interface Kind {
  readonly key: string;
  readonly image: SandboxImage;
  readonly machine: Machine;
  readonly prepared: SandboxId[];
  readonly cloned: SandboxId[];
  notBeforeMs: number;
}

type SparesCore = Pick<Core, "clock" | "random" | "driver" | "log" | "metrics">;

/** So long after the last start the next spare is made: until then what has just started needs the CPUs. */
const REST_MS = 500;
/** So often it is looked whether there is still memory for them. */
const CHECK_MS = 5_000;
const BACKOFF_MS = 60_000;
/** Kinds that are remembered. Those beyond were started so long ago that others have the spares. */
const MAX_KINDS = 64;

export class Spares {
  readonly #core: SparesCore;
  readonly #templates: Templates;
  readonly #options: SparesOptions;
  /** The one that was started last comes last. */
  readonly #kinds = new Map<string, Kind>();
  readonly #serial = new Serial();
  #timer: Timer | undefined;
  #lastStartMs = Number.NEGATIVE_INFINITY;
  #isClosed = false;

  constructor(core: SparesCore, templates: Templates, options: SparesOptions) {
    this.#core = core;
    this.#templates = templates;
    this.#options = options;
  }

  get isOn(): boolean {
    return this.#options.max > 0 && this.#core.driver.can.snapshot && !this.#isClosed;
  }

  /** How many there are. */
  counts(): Readonly<Record<SpareStage, number>> {
    const kinds = [...this.#kinds.values()];
    const sum = (stage: SpareStage): number => kinds.reduce((count, kind) => count + kind[stage].length, 0);
    return { prepared: sum("prepared"), cloned: sum("cloned") };
  }

  /** Memory that they occupy, as far as it can be measured. */
  async memoryBytes(stage: SpareStage): Promise<number> {
    const ids = [...this.#kinds.values()].flatMap((kind) => kind[stage]);
    return (await memoryOf(this.#core.driver, ids)) ?? 0;
  }

  /** Lends a spare to a start or a wake, where there is one; it stays a spare unless it is used. More are made afterwards. */
  async lend<T>(image: SandboxImage, machine: Machine, need: SpareNeed, work: (spare: Spare | undefined) => Promise<T>): Promise<T> {
    if (!this.isOn) return await work(undefined);
    const kind = this.#note(image, machine);
    const stage = need === "start" && kind.cloned.length > 0 ? "cloned" : "prepared";
    const id = need === "start" && stage === "prepared" && !this.#templates.has(kind.key) ? undefined : kind[stage].shift();
    let isUsed = false;
    this.#core.metrics.count("torpor_gateway_spares_total", { need, found: id === undefined ? "none" : stage });
    try {
      return await work(id === undefined ? undefined : { id, stage, use: () => void (isUsed = true) });
    } finally {
      this.#lastStartMs = this.#core.clock.monotonicMs();
      if (id !== undefined && !isUsed) await this.#takeBack(kind, stage, id);
      this.#later(REST_MS);
    }
  }

  /** A template has been made: its first clone is made soon. */
  templateMade(image: SandboxImage, machine: Machine): void {
    if (!this.isOn) return;
    this.#note(image, machine);
    this.#later(REST_MS);
  }

  /** A sandbox has ended by itself: if it was a spare, it is none any more. */
  ended(id: SandboxId): void {
    const kind = [...this.#kinds.values()].find(({ prepared, cloned }) => prepared.includes(id) || cloned.includes(id));
    if (kind === undefined) return;
    kind.notBeforeMs = this.#core.clock.monotonicMs() + BACKOFF_MS;
    this.#core.log.warn({ sandbox: id, image: kind.image.digest }, "a spare sandbox has ended");
    forget(kind, id);
    void this.#serial.run(() => this.#destroy(id));
  }

  /** Makes room for what is needed (P1). Whether there was any to make. */
  async giveWay(): Promise<boolean> {
    const taken = [...this.#kinds.values()].flatMap((kind) => [...kind.cloned.splice(0), ...kind.prepared.splice(0)]);
    await Promise.all(taken.map((id) => this.#destroy(id)));
    return taken.length > 0;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#timer?.cancel();
    await this.#serial.idle();
    await this.giveWay();
  }

  async #takeBack(kind: Kind, stage: SpareStage, id: SandboxId): Promise<void> {
    if (this.#isClosed) await this.#destroy(id);
    else kind[stage].push(id);
  }

  #note(image: SandboxImage, machine: Machine): Kind {
    const key = this.#templates.keyOf(image, machine);
    const kind = this.#kinds.get(key) ?? { key, image, machine, prepared: [], cloned: [], notBeforeMs: Number.NEGATIVE_INFINITY };
    this.#kinds.delete(key);
    this.#kinds.set(key, kind);
    const oldest =
      this.#kinds.size > MAX_KINDS
        ? [...this.#kinds.values()].find(({ prepared, cloned }) => prepared.length + cloned.length === 0)
        : undefined;
    if (oldest !== undefined) this.#kinds.delete(oldest.key);
    return kind;
  }

  #later(delayMs: number): void {
    this.#timer?.cancel();
    if (!this.#isClosed) this.#timer = this.#core.clock.after(delayMs, () => void this.#serial.run(() => this.#step()));
  }

  /** One step towards what there should be, and when to look again. */
  async #step(): Promise<void> {
    const { clock, log } = this.#core;
    if (this.#isClosed) return;
    const restMs = REST_MS - (clock.monotonicMs() - this.#lastStartMs);
    if (this.#options.isBusy() || restMs > 0) return this.#later(Math.max(restMs, REST_MS / 2));
    try {
      const isPlentiful = await this.#options.isPlentiful();
      if (!isPlentiful) await this.giveWay();
      const step = isPlentiful ? planSpares(this.#facts(), this.#options.max) : ({ kind: "rest" } as const);
      if (step.kind === "rest") return this.#later(CHECK_MS);
      await this.#carryOut(step);
    } catch (error) {
      log.error({ err: error }, "cannot make a spare sandbox");
      return this.#later(BACKOFF_MS);
    }
    this.#later(0);
  }

  #facts(): KindOfSpare[] {
    const nowMs = this.#core.clock.monotonicMs();
    return [...this.#kinds.values()].toReversed().map(({ key, prepared, cloned, notBeforeMs }) => ({
      key,
      hasTemplate: this.#templates.has(key),
      prepared: prepared.length,
      cloned: cloned.length,
      isBackingOff: nowMs < notBeforeMs,
    }));
  }

  async #carryOut(step: Exclude<ReturnType<typeof planSpares>, { kind: "rest" }>): Promise<void> {
    const kind = this.#kinds.get(step.key);
    if (kind === undefined) return;
    if (step.kind === "prepare") return await this.#prepare(kind);
    const id = kind[step.kind === "clone" ? "prepared" : step.stage].shift();
    if (id === undefined) return;
    if (step.kind === "drop") await this.#destroy(id);
    else await this.#clone(kind, id);
  }

  async #prepare(kind: Kind): Promise<void> {
    const { clock, random, driver } = this.#core;
    const { image, machine } = kind;
    const id = `sbx${newIdBody(clock.nowMs(), random)}`;
    const memoryBytes = gibToBytes(machine.memoryGb);
    const outcome = await driver.spare({ id, image, cpu: machine.cpu, memoryBytes });
    if (outcome.kind === "prepared") kind.prepared.push(id);
    else this.#failed(kind, outcome.message);
  }

  async #clone(kind: Kind, id: SandboxId): Promise<void> {
    const template = await this.#templates.find(kind.image, kind.machine);
    const restore = (dir: string): Promise<StartOutcome> => this.#core.driver.restore(id, dir);
    const outcome = template.kind === "ready" ? await this.#templates.restore(template.key, restore) : undefined;
    if (outcome?.kind === "started") return void kind.cloned.push(id);
    await this.#destroy(id);
    if (outcome === undefined) return;
    this.#failed(kind, outcome.message);
    await this.#templates.distrust(kind.key, outcome.message);
  }

  #failed(kind: Kind, reason: string): void {
    const { clock, log } = this.#core;
    kind.notBeforeMs = clock.monotonicMs() + BACKOFF_MS;
    log.warn({ image: kind.image.digest, ...kind.machine, reason }, "a spare sandbox could not be made");
  }

  /** What cannot be freed now is freed by the next start of this process (P3). */
  async #destroy(id: SandboxId): Promise<void> {
    await this.#core.driver
      .destroy(id)
      .catch((error: unknown) => this.#core.log.error({ err: error, sandbox: id }, "cannot free a spare sandbox"));
  }
}

/** Memory that sandboxes occupy together; undefined when it cannot be measured of one of them. */
export async function memoryOf(driver: Pick<ComputeDriver, "usage">, ids: readonly SandboxId[]): Promise<number | undefined> {
  const usages = await Promise.all(ids.map((id) => driver.usage(id)));
  let sum = 0;
  for (const usage of usages) {
    if (usage === undefined) continue; // it has just gone
    if (usage.memoryBytes === null) return undefined;
    sum += usage.memoryBytes;
  }
  return sum;
}

function forget({ prepared, cloned }: Kind, id: SandboxId): void {
  for (const ids of [prepared, cloned]) if (ids.includes(id)) ids.splice(ids.indexOf(id), 1);
}
