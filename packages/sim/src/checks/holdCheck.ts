// Nobody stands still longer than the deadline of a hold allows, whatever became of who should decide.
import { gateway as gatewayRoutes, type Route } from "@torpor/contracts";
import { keyOf, type Message } from "../network/message.ts";
import type { Point } from "../scenario/scenario.ts";
import type { PointFacts } from "../world/context.ts";
import type { Plane } from "../world/plane.ts";

/** Beside the hold: the writing, the tries to thaw, and a start of the gateway. */
const SLACK_MS = 10_000;
/** Wake beats sleep: a cancel that has reached the gateway lets the sandbox go on within this, however long the writing takes. */
const THAWED_WITHIN_MS = 150;
const CANCEL = keyOf(gatewayRoutes.cancelSnapshot as unknown as Route);

export class HoldCheck {
  readonly #plane: Plane;
  readonly #frozen = new Map<string, { readonly sinceMs: number; readonly node: number }>();

  constructor(plane: Plane) {
    this.#plane = plane;
  }

  point(name: Point, { sandboxId, node }: PointFacts): void {
    if (sandboxId === undefined) return;
    if (name === "frozen") this.#frozen.set(sandboxId, { sinceMs: this.#plane.context.time.nowMs, node });
    if (name === "thawed" || name === "destroyed") this.#frozen.delete(sandboxId);
  }

  arrived(name: string, message: Message): void {
    if (name !== CANCEL || this.#plane.context.scenario.faults.some(({ kind }) => SLOWS.has(kind))) return;
    const { name: runnerId } = message.input.params as unknown as { name: string };
    for (const [sandboxId, frozen] of this.#frozen) {
      const node = this.#plane.nodes[frozen.node];
      if (node?.graph?.core.table.findById(sandboxId)?.record.name !== runnerId) continue;
      this.#plane.context.time.after(THAWED_WITHIN_MS, () => {
        if (this.#frozen.get(sandboxId) === frozen && node.machine.sandboxes.get(sandboxId)?.state === "frozen")
          this.#plane.context.violation("L4", `${sandboxId} stands still ${THAWED_WITHIN_MS} ms after its snapshot was cancelled`);
      });
    }
  }

  look(): void {
    const { time, settings, scenario } = this.#plane.context;
    for (const [sandboxId, { sinceMs, node }] of this.#frozen) {
      const sandbox = this.#plane.nodes[node]?.machine.sandboxes.get(sandboxId);
      if (sandbox?.state !== "frozen") this.#frozen.delete(sandboxId);
      else if (time.nowMs - sinceMs > settings.holdMs + SLACK_MS + trouble(scenario.faults, node))
        this.#plane.context.violation(
          "L4",
          `${sandboxId} stands still for ${Math.round(time.nowMs - sinceMs)} ms, and nobody lets it go on`,
        );
    }
  }
}

/** What makes a gateway slow, or ends it. */
const SLOWS: ReadonlySet<string> = new Set(["driver", "disk", "crash", "drain"]);

/** How much longer what goes wrong may keep a gateway from its timers. */
function trouble(faults: Plane["context"]["scenario"]["faults"], node: number): number {
  let sumMs = 0;
  for (const fault of faults) {
    if (fault.kind === "driver" && fault.node === node) sumMs += (fault.hangMs + 3_000) * fault.times;
    if (fault.kind === "disk" && fault.node === node) sumMs += fault.slowMs * 40;
    if (fault.kind === "crash" && fault.part === "gateway") sumMs += fault.downMs + 1_000;
    if (fault.kind === "clock") sumMs += Math.abs(fault.byMs);
  }
  return sumMs;
}
