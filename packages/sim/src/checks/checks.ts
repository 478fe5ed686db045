// Holds what happens against the laws, while it happens.
import type { RunEvent } from "@torpor/engine/rules";
import type { SimProcess } from "../kernel/simProcess.ts";
import type { Actor, ModelRun } from "../model/modelRun.ts";
import type { ExecutionMemory } from "../model/runnerMemory.ts";
import type { Message, WireAnswer } from "../network/message.ts";
import type { Point } from "../scenario/scenario.ts";
import type { PointFacts } from "../world/context.ts";
import type { Plane } from "../world/plane.ts";
import { FreezeCheck } from "./freezeCheck.ts";
import { HoldCheck } from "./holdCheck.ts";
import { ImageCheck } from "./imageCheck.ts";
import { leftovers } from "./leftovers.ts";
import { StepCheck } from "./stepCheck.ts";
import { WaitCheck } from "./waitCheck.ts";

export class Checks {
  readonly #plane: Plane;
  readonly #freeze: FreezeCheck;
  readonly #hold: HoldCheck;
  readonly #images: ImageCheck;
  readonly #steps: StepCheck;
  readonly #waits: WaitCheck;
  readonly #runOfName = new Map<string, string>();

  constructor(plane: Plane) {
    this.#plane = plane;
    this.#freeze = new FreezeCheck(plane.context);
    this.#hold = new HoldCheck(plane);
    this.#images = new ImageCheck(plane);
    this.#steps = new StepCheck(plane.context);
    this.#waits = new WaitCheck(plane);
  }

  sent(name: string, message: Message): void {
    const metadata = (message.input.body as { metadata?: Record<string, string>; name?: string } | undefined) ?? {};
    const runId = metadata.metadata?.["TRIGGER_RUN_ID"];
    if (metadata.name !== undefined && runId !== undefined) this.#runOfName.set(metadata.name, runId);
    this.#freeze.sent(name, message);
    this.#images.sent(name, message);
  }

  arrived(name: string, message: Message, process: SimProcess): void {
    this.#freeze.arrived(name, message, process);
    this.#hold.arrived(name, message);
  }

  closed(message: Message, process: SimProcess): void {
    this.#freeze.closed(message, process);
  }

  answered(name: string, message: Message, answer: WireAnswer): void {
    this.#freeze.answered(name, message, answer);
    this.#images.answered(name, message, answer);
    this.#waits.answered(message, answer);
  }

  unanswered(name: string, message: Message, happened: "no" | "maybe"): void {
    if (happened === "no") this.#freeze.notBegun(name, message);
    else if (message.link === "supervisor>platform") this.#freeze.unanswered(name, message);
  }

  advanced(run: ModelRun, event: RunEvent, by: Actor | null): void {
    this.#images.advanced(run, event);
    this.#waits.advanced(run, event, by);
  }

  point(name: Point, facts: PointFacts): void {
    this.#hold.point(name, facts);
    this.#images.point(name, facts);
    this.#waits.point(name, facts);
  }

  stepped(sandboxId: string, execution: ExecutionMemory): void {
    this.#steps.stepped(sandboxId, execution);
  }

  noted(sandboxId: string, what: string, facts: Readonly<Record<string, unknown>>): void {
    this.#waits.noted(sandboxId, what, facts);
  }

  /** Now and then: what has lasted too long? */
  look(): void {
    this.#hold.look();
    this.#waits.look();
  }

  /** What there is although no run is left that could need it. */
  leftovers(): string[] {
    return leftovers(this.#plane);
  }

  /** The run that a sandbox's name or an image's id is about. */
  runOf(name: string): string | null {
    return this.#runOfName.get(name) ?? this.#images.runOf(name);
  }
}
