// L5 and L6: an original goes only when its image is accepted; an image runs once, after its original is gone; and what is reported
// is an image of that very run.
import { gateway as gatewayRoutes, workerActions, type Route } from "@torpor/contracts";
import type { RunEvent } from "@torpor/engine/rules";
import type { ModelRun } from "../model/modelRun.ts";
import { keyOf, type Message, type WireAnswer } from "../network/message.ts";
import type { Point } from "../scenario/scenario.ts";
import type { PointFacts } from "../world/context.ts";
import type { Plane } from "../world/plane.ts";

const COMMIT = keyOf(gatewayRoutes.commitSnapshot as unknown as Route);
const RESTORE = keyOf(gatewayRoutes.restoreSnapshot as unknown as Route);
const REPORT = keyOf(workerActions.completeSuspension as unknown as Route);

interface Written {
  readonly runId: string | null;
  readonly sandboxId: string;
  readonly node: number;
  /** Sandboxes that were restored from it. */
  readonly restored: string[];
  /** It was run for good, not ahead of its time. */
  ran: boolean;
}

export class ImageCheck {
  readonly #plane: Plane;
  readonly #written = new Map<string, Written>();
  readonly #accepted = new Set<string>();
  /** The image that each sleeping run is restored from, and those whose run has gone on since. */
  readonly #imageOf = new Map<string, string>();
  readonly #spent = new Set<string>();
  /** Names of sandboxes that are made ready ahead of time, and may come to nothing. */
  readonly #reserved = new Set<string>();

  constructor(plane: Plane) {
    this.#plane = plane;
  }

  runOf(imageId: string): string | null {
    return this.#written.get(imageId)?.runId ?? null;
  }

  advanced(run: ModelRun, event: RunEvent): void {
    if (event === "suspend" && run.checkpoint !== null) {
      this.#accepted.add(run.checkpoint.location);
      this.#imageOf.set(run.id, run.checkpoint.location);
    }
    if (event === "continue") this.#goesOn(run, this.#imageOf.get(run.id) ?? "");
  }

  /** Whoever goes on has consumed the image first. */
  #goesOn(run: ModelRun, imageId: string): void {
    this.#spent.add(imageId);
    const phases = this.#plane.nodes.map((node) => node.graph?.core.memory.list().find(({ id }) => id === imageId)?.phase);
    const left = phases.find((phase) => phase === "stored" || phase === "reserved");
    if (left !== undefined) this.#broken("L6", `${run.id} goes on from ${imageId}, which is ${left} still`);
  }

  sent(name: string, message: Message): void {
    const params = (message.input.params ?? {}) as Record<string, string>;
    if (name === COMMIT && !this.#accepted.has(params["snapshotId"] ?? ""))
      this.#broken("L5", `the original of ${params["snapshotId"]} is to be destroyed, and the platform has not accepted it`);
    if (name === RESTORE) {
      const body = message.input.body as unknown as { name: string; extensions?: string[] };
      if (body.extensions?.includes("reserve") === true) this.#reserved.add(body.name);
    }
    if (name !== REPORT) return;
    const { checkpoint } = message.input.body as unknown as { checkpoint?: { location: string } };
    const written = checkpoint === undefined ? undefined : this.#written.get(checkpoint.location);
    if (checkpoint !== undefined && written?.runId !== params["runId"])
      this.#broken("L15", `${checkpoint.location} is reported for ${params["runId"]}, and is no image of it`);
  }

  answered(name: string, message: Message, answer: WireAnswer): void {
    if (name !== COMMIT || answer.status >= 300) return;
    if (JSON.stringify(message.input.body ?? {}).includes("keep")) return; // as a cache, still frozen
    const { snapshotId } = message.input.params as unknown as { snapshotId: string };
    const written = this.#written.get(snapshotId);
    const original = written === undefined ? undefined : this.#plane.nodes[written.node]?.machine.sandboxes.get(written.sandboxId);
    if (original !== undefined && original.state !== "ended")
      this.#broken("L5", `${snapshotId} is said to be committed, and its original ${written?.sandboxId} is ${original.state}`);
  }

  point(name: Point, facts: PointFacts): void {
    const { sandboxId } = facts;
    if (sandboxId === undefined) return;
    if (name === "saving") this.#saving(sandboxId, facts);
    if (name === "restored") this.#restored(sandboxId, facts);
  }

  #saving(sandboxId: string, { node, runId }: PointFacts): void {
    const imageId = this.#plane.nodes[node]?.graph?.core.table.findById(sandboxId)?.record.snapshot?.memoryImageId;
    if (imageId !== undefined) this.#written.set(imageId, { runId, sandboxId, node, restored: [], ran: false });
  }

  #restored(sandboxId: string, { node }: PointFacts): void {
    const record = this.#plane.nodes[node]?.graph?.core.table.findById(sandboxId)?.record;
    const imageId = record?.restoredFrom ?? null;
    const written = imageId === null ? undefined : this.#written.get(imageId);
    if (imageId === null || written === undefined) return;
    if (this.#spent.has(imageId)) this.#broken("L6", `${imageId} runs again as ${sandboxId}, although its run has gone on from it`);
    const other = written.restored.find((one) => this.#lives(one, written.node));
    if (other !== undefined) this.#broken("L6", `${imageId} runs as ${sandboxId}, and as ${other} too`);
    const isReserved = this.#reserved.has(record?.name ?? "");
    if (written.ran && !isReserved) this.#broken("L6", `${imageId} runs a second time, as ${sandboxId}`);
    written.ran ||= !isReserved;
    written.restored.push(sandboxId);
    const original = this.#plane.nodes[written.node]?.machine.sandboxes.get(written.sandboxId);
    if (original !== undefined && original.state !== "ended")
      this.#broken("L5", `${imageId} runs as ${sandboxId} while its original ${written.sandboxId} is ${original.state}`);
  }

  #lives(sandboxId: string, node: number): boolean {
    const sandbox = this.#plane.nodes[node]?.machine.sandboxes.get(sandboxId);
    return sandbox?.state === "running" || sandbox?.state === "frozen";
  }

  #broken(law: string, text: string): void {
    this.#plane.context.violation(law, text);
  }
}
