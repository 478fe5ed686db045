// Sandboxes of a simulated machine. The machine outlives the gateway that drives it, as a real one does.
import { mkdir, readFile, writeFile } from "../disk/memoryFs.ts";
import type {
  ComputeDriver,
  FoundSandbox,
  FreezeOutcome,
  GuestReach,
  PrepareOutcome,
  SandboxExit,
  SandboxSpec,
  SandboxUsage,
  SaveOutcome,
  StartOutcome,
  ThawOutcome,
} from "@torpor/gateway";
import type { SimProcess } from "../kernel/simProcess.ts";
import type { SeededRandom } from "../kernel/seededRandom.ts";
import type { DriverCall, Point } from "../scenario/scenario.ts";
import type { Guest } from "./guest.ts";

export interface SimSandbox {
  readonly spec: SandboxSpec;
  readonly address: string;
  state: "prepared" | "running" | "frozen" | "ended";
  guest: Guest | null;
}

export interface DriverFault {
  readonly effect: "hang" | "refuse" | "lose_answer" | "dies";
  readonly hangMs: number;
}

/** The machine: what runs on it, and what goes wrong with it. */
export interface Machine {
  readonly sandboxes: Map<string, SimSandbox>;
  readonly random: SeededRandom;
  readonly saveMs: number;
  newAddress(): string;
  /** Makes the inside of a sandbox: of a fresh one, or of one that was written down. */
  makeGuest(sandbox: SimSandbox, dump: string | null): Guest;
  takeFault(call: DriverCall): DriverFault | undefined;
  point(name: Point, sandbox: SimSandbox): void;
  /** Somebody listens for ends of sandboxes. */
  onExit: ((exit: SandboxExit) => void) | null;
}

const REFUSED = { kind: "refused", reason: "failed", message: "refused by the machine" } as const;
const START_MS = 60;
const RESTORE_MS = 80;
const CALL_MS = 3;

export class SimDriver implements ComputeDriver {
  readonly name = "fake";
  readonly can = { snapshot: true } as const;
  readonly fingerprint = { driver: "sim", version: "1" };
  readonly warnings = [] as const;
  readonly reach: GuestReach = { services: {}, metadataUrl: "http://169.254.169.254" };
  readonly #machine: Machine;
  readonly #process: SimProcess;

  constructor(machine: Machine, process: SimProcess) {
    this.#machine = machine;
    this.#process = process;
  }

  async create(spec: SandboxSpec): Promise<StartOutcome> {
    const fault = await this.#take("create", START_MS);
    if (fault === "refuse") return REFUSED;
    const sandbox = this.#add(spec);
    return this.#run(sandbox, null, fault);
  }

  async prepare(spec: SandboxSpec): Promise<PrepareOutcome> {
    if ((await this.#take("prepare", CALL_MS)) === "refuse") return REFUSED;
    this.#add(spec);
    return { kind: "prepared" };
  }

  /** No spares are made here: `maxSpares` is 0. */
  async spare(): Promise<typeof REFUSED> {
    return REFUSED;
  }

  async assign(): Promise<typeof REFUSED> {
    return REFUSED;
  }

  async restore(id: string, dir: string): Promise<StartOutcome> {
    const { sandboxes } = this.#machine;
    const sandbox = sandboxes.get(id);
    if (sandbox !== undefined) this.#machine.point("restoring", sandbox);
    const fault = await this.#take("restore", RESTORE_MS);
    const dump = await readFile(`${dir}/memory.img`, "utf8").catch(() => null);
    if (sandbox?.state !== "prepared" || dump === null || fault === "refuse") {
      sandboxes.delete(id);
      return REFUSED;
    }
    return this.#run(sandbox, String(dump), fault);
  }

  async freeze(id: string): Promise<FreezeOutcome> {
    const fault = await this.#take("freeze", CALL_MS);
    if (fault === "refuse") return { kind: "failed", message: "refused by the machine" };
    const sandbox = this.#living(id);
    if (sandbox === undefined) return { kind: "gone" };
    if (fault === "dies") this.#die(sandbox);
    if (sandbox.state === "ended") return { kind: "gone" };
    sandbox.guest?.freeze();
    sandbox.state = "frozen";
    this.#machine.point("frozen", sandbox);
    return { kind: "frozen" };
  }

  async save(id: string, dir: string, signal: AbortSignal): Promise<SaveOutcome> {
    const sandbox = this.#living(id);
    if (sandbox !== undefined) this.#machine.point("saving", sandbox);
    await mkdir(dir, { recursive: true });
    await writeFile(`${dir}/memory.img`, "half");
    const fault = await this.#take("save", this.#machine.saveMs * (0.5 + this.#machine.random.unit()), signal);
    if (signal.aborted) return { kind: "canceled" };
    if (fault === "refuse") return { kind: "failed", reason: "checkpoint_failed", message: "refused by the machine" };
    if (sandbox !== undefined && fault === "dies") this.#die(sandbox);
    if (sandbox?.state !== "frozen" || sandbox.guest === null)
      return { kind: "failed", reason: "sandbox_gone", message: "it is not there, or not frozen" };
    await writeFile(`${dir}/memory.img`, sandbox.guest.dump());
    if (this.#living(id)?.state !== "frozen") return { kind: "failed", reason: "sandbox_gone", message: "it ended" };
    return { kind: "saved" };
  }

  async thaw(id: string): Promise<ThawOutcome> {
    const fault = await this.#take("thaw", CALL_MS);
    if (fault === "refuse") return { kind: "failed", message: "refused by the machine" };
    const sandbox = this.#living(id);
    if (sandbox === undefined) return { kind: "gone" };
    const wasFrozen = sandbox.state === "frozen";
    sandbox.state = "running";
    if (wasFrozen) this.#machine.point("thawed", sandbox);
    sandbox.guest?.thaw();
    return { kind: "thawed" };
  }

  async destroy(id: string): Promise<void> {
    if ((await this.#take("destroy", CALL_MS)) === "refuse") throw new Error(`Cannot destroy ${id}: refused by the machine`);
    const sandbox = this.#machine.sandboxes.get(id);
    if (sandbox === undefined) return;
    sandbox.guest?.kill();
    this.#machine.sandboxes.delete(id);
    this.#machine.point("destroyed", sandbox);
  }

  async list(): Promise<FoundSandbox[]> {
    await this.#take("thaw", 0, undefined, false);
    return [...this.#machine.sandboxes].map(([id, { state, address }]) => ({
      id,
      address,
      state: state === "prepared" ? "never_ran" : state,
    }));
  }

  async adopt(id: string): Promise<"adopted" | "gone"> {
    return this.#living(id) === undefined ? "gone" : "adopted";
  }

  async usage(id: string): Promise<SandboxUsage | undefined> {
    return this.#living(id) === undefined ? undefined : { memoryBytes: 1_000_000, processCount: 1 };
  }

  onExit(listener: (exit: SandboxExit) => void): void {
    const process = this.#process;
    this.#machine.onExit = (exit) => process.alive && listener(exit);
  }

  async close(): Promise<void> {}

  async dispose(): Promise<void> {}

  #add(spec: SandboxSpec): SimSandbox {
    const sandbox: SimSandbox = { spec, address: this.#machine.newAddress(), state: "prepared", guest: null };
    this.#machine.sandboxes.set(spec.id, sandbox);
    return sandbox;
  }

  #run(sandbox: SimSandbox, dump: string | null, fault: DriverFault["effect"] | undefined): StartOutcome {
    sandbox.state = "running";
    sandbox.guest = this.#machine.makeGuest(sandbox, dump);
    if (dump === null) sandbox.guest.boot(sandbox.spec.env);
    else sandbox.guest.wake();
    this.#machine.point("restored", sandbox);
    if (fault === "dies") this.#die(sandbox);
    if (fault === "lose_answer") return { kind: "unknown", message: "the machine's answer was lost" };
    return { kind: "started", address: sandbox.address, timingMs: {} };
  }

  #die(sandbox: SimSandbox): void {
    sandbox.guest?.kill();
    sandbox.state = "ended";
    this.#machine.onExit?.({ id: sandbox.spec.id, exitCode: 137 });
  }

  #living(id: string): SimSandbox | undefined {
    const sandbox = this.#machine.sandboxes.get(id);
    return sandbox?.state === "running" || sandbox?.state === "frozen" ? sandbox : undefined;
  }

  /** Time passes, and something may go wrong. Nothing of this happens when the gateway's process dies meanwhile. */
  async #take(call: DriverCall, tookMs: number, signal?: AbortSignal, canFail = true): Promise<DriverFault["effect"] | undefined> {
    const fault = canFail ? this.#machine.takeFault(call) : undefined;
    const isCutOff = signal?.aborted === true; // before it began
    const delayMs = isCutOff ? CALL_MS : tookMs + (fault?.effect === "hang" ? fault.hangMs : 0);
    await new Promise<void>((resolve) => {
      const timer = this.#process.clock.after(delayMs, resolve);
      signal?.addEventListener(
        "abort",
        () => {
          timer.cancel();
          this.#process.clock.after(CALL_MS, resolve);
        },
        { once: true },
      );
    });
    return fault?.effect;
  }
}
