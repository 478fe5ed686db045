import type { SandboxExit } from "@torpor/gateway";
import { SeededRandom } from "../kernel/seededRandom.ts";
import { Guest } from "../model/guest.ts";
import type { GuestHost } from "../model/guestHost.ts";
import { bornMemory, type RunnerMemory } from "../model/runnerMemory.ts";
import type { DriverFault, Machine, SimSandbox } from "../model/simDriver.ts";
import type { DriverCall, Fault, Point } from "../scenario/scenario.ts";
import type { Context } from "./context.ts";
import type { SimNode } from "./simNode.ts";

type DriverFaultWindow = Fault & { readonly kind: "driver" };

/** The machine of one node. */
export class SimMachine implements Machine {
  readonly sandboxes = new Map<string, SimSandbox>();
  readonly random: SeededRandom;
  readonly saveMs: number;
  onExit: ((exit: SandboxExit) => void) | null = null;
  /** What its guests reach; set once the plane stands. */
  guestHost: GuestHost | null = null;
  readonly #context: Context;
  readonly #node: SimNode;
  readonly #faults: { readonly fault: DriverFaultWindow; left: number }[];
  #addresses = 0;

  constructor(context: Context, node: SimNode) {
    this.#context = context;
    this.#node = node;
    this.random = new SeededRandom(context.seed, `machine${node.index}`);
    this.saveMs = context.settings.saveMs;
    this.#faults = context.scenario.faults
      .filter((fault): fault is DriverFaultWindow => fault.kind === "driver" && fault.node === node.index)
      .map((fault) => ({ fault, left: fault.times }));
  }

  newAddress(): string {
    this.#addresses++;
    return `100.64.${this.#node.index * 64 + Math.floor(this.#addresses / 200)}.${(this.#addresses % 200) + 2}`;
  }

  makeGuest(sandbox: SimSandbox, dump: string | null): Guest {
    const { spec, address } = sandbox;
    const host = this.guestHost;
    if (host === null) throw new Error("Cannot make a guest before the plane stands");
    const process = this.#node.process(`guest ${spec.id}`);
    const memory = dump === null ? bornMemory(spec.env, `controller_${spec.id}`) : restored(JSON.parse(dump) as RunnerMemory, host.nowMs());
    return new Guest({
      host,
      id: spec.id,
      node: this.#node.index,
      process,
      address,
      memory,
      metadata: () => (this.#node.graph === null ? null : spec.metadata),
      onExit: (exitCode) => {
        if (sandbox.state === "ended") return;
        sandbox.state = "ended";
        this.#context.history.add(spec.id, "exited", { exitCode });
        this.onExit?.({ id: spec.id, exitCode });
      },
    });
  }

  takeFault(call: DriverCall): DriverFault | undefined {
    const { nowMs } = this.#context.time;
    const found = this.#faults.find(({ fault, left }) => fault.call === call && left > 0 && nowMs >= fault.fromMs && nowMs < fault.toMs);
    if (found === undefined) return undefined;
    found.left--;
    this.#context.history.add(this.#node.name, "driver fault", { call, effect: found.fault.effect });
    return found.fault;
  }

  point(name: Point, sandbox: SimSandbox): void {
    const runId = sandbox.guest?.memory.execution?.runId ?? sandbox.spec.metadata["TRIGGER_RUN_ID"] ?? null;
    this.#context.point(name, { runId, node: this.#node.index, sandboxId: sandbox.spec.id });
  }

  /** Its processes are killed from outside. */
  killSandbox(sandbox: SimSandbox): void {
    if (sandbox.state !== "running" && sandbox.state !== "frozen") return;
    sandbox.guest?.kill();
    sandbox.state = "ended";
    this.#context.history.add(sandbox.spec.id, "killed");
    this.onExit?.({ id: sandbox.spec.id, exitCode: 137 });
  }
}

/** What was written as time left is time again. */
function restored(memory: RunnerMemory, nowMs: number): RunnerMemory {
  return { ...memory, idleUntilMs: memory.idleUntilMs + nowMs };
}
