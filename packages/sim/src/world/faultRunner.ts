// Makes the faults of a scenario happen: at their time, or when a run gets to the point that they aim at.
import type { Fault, Point, When } from "../scenario/scenario.ts";
import type { Context, PointFacts } from "./context.ts";
import { forge } from "./forgery.ts";
import type { Plane } from "./plane.ts";

interface Aimed {
  readonly fault: Fault;
  readonly when: Extract<When, { point: Point }>;
  seen: number;
}

export class FaultRunner {
  readonly #context: Context;
  readonly #plane: Plane;
  readonly #aimed = new Map<Point, Aimed[]>();
  #ceased = false;

  constructor(context: Context, plane: Plane) {
    this.#context = context;
    this.#plane = plane;
    for (const fault of context.scenario.faults) {
      if (!("when" in fault)) continue;
      const { when } = fault;
      if ("atMs" in when) context.time.after(when.atMs, () => this.#happen(fault, null));
      else this.#aimed.set(when.point, [...(this.#aimed.get(when.point) ?? []), { fault, when, seen: 0 }]);
    }
  }

  /** No run is left to harm. */
  cease(): void {
    this.#ceased = true;
  }

  /** Some run got there. */
  point(name: Point, facts: PointFacts): void {
    for (const aimed of this.#aimed.get(name) ?? []) {
      aimed.seen++;
      if (aimed.seen === aimed.when.nth) this.#context.time.after(aimed.when.delayMs, () => this.#happen(aimed.fault, facts));
    }
  }

  #happen(fault: Fault, facts: PointFacts | null): void {
    const { time, scenario, history, engine } = this.#context;
    if (this.#ceased || time.nowMs >= scenario.quietAtMs) return;
    const run = facts?.runId == null ? [...engine.runs.values()].find(({ hasEnded }) => !hasEnded) : engine.runs.get(facts.runId);
    history.add("fault", fault.kind, { ...fault, ...facts });
    const node = this.#plane.nodes[facts?.node ?? ("node" in fault ? fault.node : 0)] ?? this.#plane.nodes[0];
    if (node === undefined) return;
    switch (fault.kind) {
      case "crash":
        return this.#crash(fault, node, facts);
      case "drain":
        void node.drainSupervisor().then(() => node.startSoon("supervisor", fault.downMs));
        return;
      case "clock":
        node.wall.offsetMs += fault.byMs;
        return;
      case "socket": {
        const found = [...node.machine.sandboxes.values()].find(
          ({ guest }) => run === undefined || guest?.memory.execution?.runId === run.id,
        );
        return found?.guest?.loseSocket(fault.awayMs, fault.isCut);
      }
      case "wake":
        return void (run !== undefined && engine.wake(run));
      case "cancel":
        return run === undefined ? undefined : engine.cancel(run);
      case "stall":
        return run === undefined ? undefined : engine.stall(run);
      case "rival":
        return this.#rival(node);
      case "forge":
        return forge(this.#plane, node, fault.how);
      default:
        return;
    }
  }

  #rival(node: Plane["nodes"][number]): void {
    const last = this.#plane.watcher.lastRestore;
    if (last === null) return;
    const name = `${String(last.body["name"])}-rival`;
    const { TRIGGER_RUNNER_ID: _own, ...metadata } = last.body["metadata"] as Record<string, string>;
    void node.askToRestore(last.imageId, { ...last.body, name, metadata: { ...metadata, TRIGGER_RUNNER_ID: name } });
  }

  #crash(fault: Fault & { readonly kind: "crash" }, node: Plane["nodes"][number], facts: PointFacts | null): void {
    switch (fault.part) {
      case "supervisor":
        node.killSupervisor();
        return node.startSoon("supervisor", fault.downMs);
      case "gateway":
        node.killGateway();
        return node.startSoon("gateway", fault.downMs);
      case "platform":
        return this.#plane.restartPlatform(fault.downMs);
      case "runner": {
        const { sandboxes } = node.machine;
        const aimed = facts?.sandboxId === undefined ? undefined : sandboxes.get(facts.sandboxId);
        const byRun = [...sandboxes.values()].find(({ guest }) => guest?.memory.execution?.runId === facts?.runId);
        const victim = aimed ?? byRun ?? sandboxes.values().next().value;
        return victim === undefined ? undefined : node.machine.killSandbox(victim);
      }
    }
  }
}
