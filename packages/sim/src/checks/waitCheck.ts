// What has to happen soon when nothing is in the way: a waiting run falls asleep, a run that was handed out starts, and nobody
// drives a runner from a run that is its own.
import type { RunEvent } from "@torpor/engine/rules";
import { workload, type Route } from "@torpor/contracts";
import type { Actor, ModelRun } from "../model/modelRun.ts";
import type { SimProcess } from "../kernel/simProcess.ts";
import { keyOf, type Message, type WireAnswer } from "../network/message.ts";
import type { Point } from "../scenario/scenario.ts";
import type { PointFacts } from "../world/context.ts";
import type { Plane } from "../world/plane.ts";

/** Faults that cut no line: whatever becomes of a sandbox is heard of. */
const HARMLESS: ReadonlySet<string> = new Set(["wake", "cancel", "socket", "driver"]);
const MAY_ASK_AGAIN: ReadonlySet<string> = new Set([keyOf(workload.suspend as unknown as Route)]);
/** A sleep that has failed is tried again after 5 s, 10 s, … */
const ASLEEP_WITHIN_MS = 120_000;
const STARTED_WITHIN_MS = 25_000;

export class WaitCheck {
  readonly #plane: Plane;
  readonly #since = new Map<string, number>();
  /** The sandbox that the run was last placed in. */
  readonly #placed = new Map<string, string>();
  /** The supervisor that each run was handed to last. */
  readonly #takers = new Map<string, SimProcess>();

  constructor(plane: Plane) {
    this.#plane = plane;
  }

  advanced(run: ModelRun, event: RunEvent, by: Actor | null): void {
    const { time, scenario, violation } = this.#plane.context;
    this.#since.set(run.id, time.nowMs);
    const taker = this.#plane.nodes.find(({ name }) => name === by?.node)?.socketServer()?.process;
    if (event === "dequeue" && taker !== undefined) this.#takers.set(run.id, taker);
    // a memory image is on one node: a run that another node takes starts over
    const allIsHeardOf =
      scenario.settings.nodes === 1 &&
      scenario.faults.every((fault) => HARMLESS.has(fault.kind) && !(fault.kind === "socket" && fault.isCut));
    const isSpared = allIsHeardOf && scenario.faults.every((fault) => fault.kind !== "driver" || fault.effect === "hang");
    if (isSpared && event === "startOver") violation("L11", `${run.id} is started over, and nothing was wrong with its memory`);
    if (allIsHeardOf && event === "retryLater" && by === null)
      violation("L8", `${run.id} is taken for stalled, and its node knew how its sandbox was`);
  }

  /** A refusal says whether it is worth asking again: the loser of a race must not ask for half a minute. */
  answered({ link, route, name }: Message, { status, shouldRetry }: WireAnswer): void {
    if (link === "runner>supervisor" && status >= 400 && status < 500 && shouldRetry !== "false" && !MAY_ASK_AGAIN.has(name))
      this.#plane.context.violation("L8", `${route.path} was refused with ${status}, and the runner is not told that this is final`);
  }

  point(name: Point, { runId, sandboxId }: PointFacts): void {
    if (name === "restored" && runId !== null && sandboxId !== undefined) this.#placed.set(runId, sandboxId);
  }

  noted(sandboxId: string, what: string, facts: Readonly<Record<string, unknown>>): void {
    if (what !== "left its run" || facts["why"] !== "it was replaced") return;
    const { engine, violation } = this.#plane.context;
    for (const run of engine.runs.values())
      if (this.#placed.get(run.id) === sandboxId && run.status === "EXECUTING")
        violation("L8", `${sandboxId} was made to leave ${run.id}, which is its own`);
  }

  /** Something may have been lost since then. */
  #mayBeLost(sinceMs: number): boolean {
    return this.#plane.context.scenario.faults.some((fault) => "toMs" in fault && fault.toMs > sinceMs);
  }

  look(): void {
    const { time, scenario, engine, violation } = this.#plane.context;
    for (const run of engine.runs.values()) {
      const lastedMs = time.nowMs - Math.max(this.#since.get(run.id) ?? 0, scenario.quietAtMs);
      if (run.status === "EXECUTING_WITH_WAITPOINTS" && run.isBlocked && lastedMs > ASLEEP_WITHIN_MS)
        violation("L3", `${run.id} waits since ${Math.round(lastedMs)} ms with nothing in the way, and does not fall asleep`);
      // else the engine takes it back, when nothing is heard of it: a runner waits for minutes for the answer to a start that was lost
      const isCarried = this.#takers.get(run.id)?.alive !== false && !this.#mayBeLost(this.#since.get(run.id) ?? 0);
      if (run.status === "PENDING_EXECUTING" && run.checkpoint === null && isCarried && lastedMs > STARTED_WITHIN_MS)
        violation("L12", `${run.id} was handed out ${Math.round(lastedMs)} ms ago with nothing in the way, and has not started`);
    }
  }
}
