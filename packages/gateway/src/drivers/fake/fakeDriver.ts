// Sandboxes that exist only in memory, for tests and simulation: a small real driver that passes the same suite as the others,
// and fails on request in the ways that hurt. Its host outlives it, as a real host does, so that a restart can be tried.
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { READY_LINE, ROLE_VARIABLE } from "@torpor/image";
import { sleep, type Clock } from "@torpor/kernel";
import type {
  ComputeDriver,
  FoundSandbox,
  FreezeOutcome,
  GuestReach,
  PrepareOutcome,
  SandboxExit,
  SandboxId,
  SandboxSpec,
  SandboxUsage,
  SaveOutcome,
  SpareSpec,
  StartOutcome,
  ThawOutcome,
} from "../driver.ts";

/**
 * What can be ordered for the next call of a kind.
 * - `refuse`: it does not happen and says so
 * - `lose_reply`: it happens, and the answer is that nobody knows
 * - `hang`: it happens only after `hangMs`
 * - `disk_full`, `checkpoint_failed`: the save ends so, half a file is left
 * - `dies`: the sandbox ends in the middle of it
 */
export type Fault = "refuse" | "lose_reply" | "hang" | "disk_full" | "checkpoint_failed" | "dies";
type Call = "create" | "prepare" | "spare" | "assign" | "restore" | "freeze" | "save" | "thaw" | "destroy";

interface FakeSandbox {
  spec: SandboxSpec;
  readonly address: string;
  state: "prepared" | "running" | "frozen" | "ended";
  /** Grows while the sandbox runs: what a restored one goes on with. */
  memory: string;
  /** It runs, and waits for who it will be. */
  isSpare?: boolean;
}

/** The machine: what runs on it and what was ordered to go wrong. */
export class FakeHost {
  readonly sandboxes = new Map<SandboxId, FakeSandbox>();
  /** Every call in order, as `freeze sbx1`. */
  readonly calls: string[] = [];
  /** What a sandbox that is to become a template prints. */
  templateOutput: string = READY_LINE;
  readonly #faults = new Map<Call, Fault[]>();
  #addresses = 0;

  /** Orders a fault for the next call of this kind that has none yet. */
  failNext(call: Call, fault: Fault): this {
    this.#faults.set(call, [...(this.#faults.get(call) ?? []), fault]);
    return this;
  }

  takeFault(call: Call, id: SandboxId): Fault | undefined {
    this.calls.push(`${call} ${id}`);
    return this.#faults.get(call)?.shift();
  }

  newAddress(): string {
    this.#addresses++;
    return `100.64.${Math.floor(this.#addresses / 250)}.${(this.#addresses % 250) + 2}`;
  }
}

export interface FakeDriverOptions {
  readonly clock: Clock;
  readonly host: FakeHost;
  readonly fingerprint?: Readonly<Record<string, string>>;
  /** How long saving takes, on the clock. */
  readonly saveMs?: number;
  readonly hangMs?: number;
}

const NEVER = new AbortController().signal;
const ORDERED_REFUSAL = { kind: "refused", reason: "failed", message: "ordered to fail" } as const;

export class FakeDriver implements ComputeDriver {
  readonly name = "fake";
  readonly can = { snapshot: true } as const;
  readonly fingerprint: Readonly<Record<string, string>>;
  readonly warnings = [] as const;
  readonly reach: GuestReach = { services: {}, metadataUrl: "http://169.254.169.254" };
  readonly #options: FakeDriverOptions;
  readonly #watched = new Set<SandboxId>();
  #listener: (exit: SandboxExit) => void = () => undefined;

  constructor(options: FakeDriverOptions) {
    this.#options = options;
    this.fingerprint = options.fingerprint ?? { driver: "fake", version: "1" };
  }

  async create(spec: SandboxSpec): Promise<StartOutcome> {
    const fault = await this.#fault("create", spec.id);
    if (fault === "refuse") return ORDERED_REFUSAL;
    this.#add(spec);
    return this.#run(spec.id, `${spec.image.digest}:`, fault);
  }

  async prepare(spec: SandboxSpec): Promise<PrepareOutcome> {
    if ((await this.#fault("prepare", spec.id)) === "refuse") return ORDERED_REFUSAL;
    const spare = this.#options.host.sandboxes.get(spec.id);
    if (spare?.isSpare === true && spare.state === "prepared") Object.assign(spare, { spec, isSpare: false });
    else this.#add(spec);
    return { kind: "prepared" };
  }

  async spare(spec: SpareSpec): Promise<PrepareOutcome> {
    if ((await this.#fault("spare", spec.id)) === "refuse") return ORDERED_REFUSAL;
    this.#add({ ...spec, env: {}, metadata: {} }).isSpare = true;
    return { kind: "prepared" };
  }

  async assign(spec: SandboxSpec): Promise<StartOutcome> {
    const fault = await this.#fault("assign", spec.id);
    const spare = this.#living(spec.id);
    if (fault === "refuse") return ORDERED_REFUSAL;
    if (spare?.isSpare !== true)
      return { kind: "refused", reason: "failed", message: `Cannot start ${spec.id}: it is no spare that waits` };
    Object.assign(spare, { spec, isSpare: false });
    if (fault === "dies") this.exit(spec.id, 1);
    if (fault === "lose_reply") return { kind: "unknown", message: "the reply was lost" };
    return { kind: "started", address: spare.address, timingMs: {} };
  }

  async restore(id: SandboxId, dir: string): Promise<StartOutcome> {
    const fault = await this.#fault("restore", id);
    const memory = await readFile(join(dir, "memory.img"), "utf8").catch(() => undefined);
    if (fault === "refuse" || memory === undefined) {
      this.#options.host.sandboxes.delete(id);
      return fault === "refuse" ? ORDERED_REFUSAL : { kind: "refused", reason: "failed", message: `there is no memory in ${dir}` };
    }
    const outcome = this.#run(id, memory, fault);
    return fault === "dies" ? { kind: "unknown", message: "it died while it was restored" } : outcome;
  }

  async freeze(id: SandboxId): Promise<FreezeOutcome> {
    const fault = await this.#fault("freeze", id);
    if (fault === "refuse") return { kind: "failed", message: "ordered to fail" };
    if (fault === "dies") this.exit(id, 137);
    const sandbox = this.#living(id);
    if (sandbox === undefined) return { kind: "gone" };
    sandbox.state = "frozen";
    return { kind: "frozen" };
  }

  async save(id: SandboxId, dir: string, signal: AbortSignal): Promise<SaveOutcome> {
    const fault = await this.#fault("save", id, signal);
    await mkdir(dir, { recursive: true });
    await writeFile(join(dir, "memory.img"), "half");
    if (this.#options.saveMs !== undefined) await sleep(this.#options.clock, this.#options.saveMs, signal);
    if (signal.aborted) return { kind: "canceled" };
    if (fault === "disk_full" || fault === "checkpoint_failed") return { kind: "failed", reason: fault, message: "ordered to fail" };
    if (fault === "dies") this.exit(id, 137);
    const sandbox = this.#living(id);
    if (sandbox?.state !== "frozen") return { kind: "failed", reason: "sandbox_gone", message: "it is not there, or not frozen" };
    await writeFile(join(dir, "memory.img"), sandbox.memory);
    await writeFile(join(dir, "pages.img"), "x".repeat(10_000));
    return { kind: "saved" };
  }

  async thaw(id: SandboxId): Promise<ThawOutcome> {
    const fault = await this.#fault("thaw", id);
    if (fault === "refuse") return { kind: "failed", message: "ordered to fail" };
    const sandbox = this.#living(id);
    if (sandbox === undefined) return { kind: "gone" };
    sandbox.state = "running";
    return { kind: "thawed" };
  }

  async destroy(id: SandboxId): Promise<void> {
    if ((await this.#fault("destroy", id)) === "refuse") throw new Error(`Cannot destroy ${id}: ordered to fail`);
    this.#watched.delete(id);
    this.#options.host.sandboxes.delete(id);
  }

  async list(): Promise<FoundSandbox[]> {
    return [...this.#options.host.sandboxes].map(([id, { state, address }]) => ({
      id,
      address,
      state: state === "prepared" ? "never_ran" : state,
    }));
  }

  async adopt(id: SandboxId): Promise<"adopted" | "gone"> {
    if (this.#living(id) === undefined) return "gone";
    this.#watched.add(id);
    return "adopted";
  }

  async usage(id: SandboxId): Promise<SandboxUsage | undefined> {
    return this.#living(id) === undefined ? undefined : { memoryBytes: 1_000_000, processCount: 1 };
  }

  async output(id: SandboxId): Promise<string> {
    const { host } = this.#options;
    return host.sandboxes.get(id)?.spec.env[ROLE_VARIABLE] === undefined ? "" : host.templateOutput;
  }

  onExit(listener: (exit: SandboxExit) => void): void {
    this.#listener = listener;
  }

  async close(): Promise<void> {
    this.#watched.clear();
  }

  async dispose(): Promise<void> {}

  /** The guest's work: what it has in memory from now on. */
  work(id: SandboxId, text: string): void {
    const sandbox = this.#living(id);
    if (sandbox?.state !== "running") throw new Error(`Cannot work in ${id}: it does not run`);
    sandbox.memory += text;
  }

  /** The guest ends by itself. */
  exit(id: SandboxId, exitCode: number | null): void {
    const sandbox = this.#options.host.sandboxes.get(id);
    if (sandbox === undefined || sandbox.state === "ended") return;
    sandbox.state = "ended";
    if (this.#watched.delete(id)) this.#listener({ id, exitCode });
  }

  #add(spec: SandboxSpec): FakeSandbox {
    const { sandboxes } = this.#options.host;
    if (sandboxes.has(spec.id)) throw new Error(`Cannot start ${spec.id}: an id is used once`);
    const sandbox: FakeSandbox = { spec, address: this.#options.host.newAddress(), state: "prepared", memory: "" };
    sandboxes.set(spec.id, sandbox);
    return sandbox;
  }

  #run(id: SandboxId, memory: string, fault: Fault | undefined): StartOutcome {
    const sandbox = this.#options.host.sandboxes.get(id);
    if (sandbox?.state !== "prepared") return { kind: "refused", reason: "failed", message: `Cannot start ${id}: it was not prepared` };
    Object.assign(sandbox, { state: "running", memory });
    this.#watched.add(id);
    if (fault === "dies") this.exit(id, 1);
    return fault === "lose_reply"
      ? { kind: "unknown", message: "the reply was lost" }
      : { kind: "started", address: sandbox.address, timingMs: {} };
  }

  #living(id: SandboxId): FakeSandbox | undefined {
    const sandbox = this.#options.host.sandboxes.get(id);
    return sandbox === undefined || sandbox.state === "ended" || sandbox.state === "prepared" ? undefined : sandbox;
  }

  async #fault(call: Call, id: SandboxId, signal: AbortSignal = NEVER): Promise<Fault | undefined> {
    const fault = this.#options.host.takeFault(call, id);
    if (fault === "hang") await sleep(this.#options.clock, this.#options.hangMs ?? 60_000, signal);
    return fault;
  }
}
