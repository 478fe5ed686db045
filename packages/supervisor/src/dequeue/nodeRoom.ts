import { GIB, type Clock } from "@torpor/kernel";
import { MACHINES, DEFAULT_MACHINE } from "@torpor/contracts";
import type { Gateway } from "../gateway/gateway.ts";
import { fits } from "../launch/plan.ts";
import type { Room } from "../runners/runner.ts";
import { measuredFreeGib, type MeasuredMemory } from "./measuredRoom.ts";
import type { NodeCosts } from "../sleep/nodeCosts.ts";

/** What must be free before a run is asked for: the size that a task has when it says nothing. */
const SMALLEST: Room = { cpu: MACHINES[DEFAULT_MACHINE].cpu, memoryGib: MACHINES[DEFAULT_MACHINE].memory };

/** Below this share of free memory a machine begins to push out what it needs again. */
const TIGHT_SHARE = 0.1;

/** Room that was missing a moment ago is missing still: it is looked at several times a second while something waits for it. */
const SHORT_FOR_MS = 2_000;

export interface NodeRoomDeps {
  readonly gateway: Gateway;
  readonly clock: Clock;
  readonly cpuOvercommit: number;
  readonly memoryOvercommit: number;
  readonly costs: NodeCosts;
}

/** How much room this node has. Tasks wait more than they compute, so cpu is given out several times over; memory is not. */
export class NodeRoom {
  readonly #deps: NodeRoomDeps;
  #total: Room | null = null;
  #measured: MeasuredMemory | null = null;
  #canSnapshot = false;
  #isForeign = false;
  #isTight = false;
  #extensions: ReadonlySet<string> = new Set();
  #templates = new Set<string>();
  #lackedMs = Number.NEGATIVE_INFINITY;
  /** Told each time room is found missing, with how much. */
  onShort: (missing: Room) => void = () => {};

  constructor(deps: NodeRoomDeps) {
    this.#deps = deps;
  }

  /** Whether the gateway can freeze sandboxes. */
  get canSnapshot(): boolean {
    return this.#canSnapshot;
  }

  /** A gateway that speaks the shared contract alone. */
  get isForeign(): boolean {
    return this.#isForeign;
  }

  /** The machine has little memory left, whoever uses it: nothing is kept that need not be. */
  get isTight(): boolean {
    return this.#isTight;
  }

  /** Asks the gateway what the node has. False: it could not say; what was known stays. A foreign gateway that does not know the question sets no limit. */
  async refresh(): Promise<boolean> {
    const node = await this.#deps.gateway.node();
    if (node.kind === "refused" && node.status === 404) {
      this.#total = { cpu: Infinity, memoryGib: Infinity };
      this.#canSnapshot = true;
      this.#isForeign = true;
      return true;
    }
    if (node.kind !== "ok") return false;
    const { cpuTotal, memoryTotalBytes, memoryAvailableBytes, instancesMemoryBytes, spares, canSnapshot } = node.body;
    const spareBytes = (spares?.preparedBytes ?? 0) + (spares?.clonedBytes ?? 0);
    this.#measured =
      instancesMemoryBytes === undefined ? null : { availableBytes: memoryAvailableBytes, spareBytes, usedBytes: instancesMemoryBytes };
    this.#isTight = memoryAvailableBytes < memoryTotalBytes * TIGHT_SHARE;
    if (this.#isTight) this.onShort(SMALLEST);
    this.#deps.costs.resize({ cpuTotal, memoryTotalBytes });
    this.#total = { cpu: cpuTotal * this.#deps.cpuOvercommit, memoryGib: (memoryTotalBytes / GIB) * this.#deps.memoryOvercommit };
    this.#canSnapshot = canSnapshot;
    this.#extensions = new Set(node.body.extensions);
    this.#templates = new Set(node.body.templates?.map(({ image_digest, cpu, memory_gb }) => `${image_digest} ${cpu} ${memory_gb}`));
    return true;
  }

  /** Whether the gateway may be asked for something beyond the shared contract. */
  can(extension: "reserve" | "keep"): boolean {
    return this.#extensions.has(extension);
  }

  /** Whether a sandbox of this image and size would be cloned from a template, by the gateway's last word. */
  hasTemplate(image: string | undefined, room: Room): boolean {
    return this.#templates.has(templateOf(image, room));
  }

  /** The gateway has just made or not made a clone, other than we thought. */
  templateChanged(image: string | undefined, room: Room, has: boolean): void {
    if (has) this.#templates.add(templateOf(image, room));
    else this.#templates.delete(templateOf(image, room));
  }

  /** What is left beside what is placed: by the machines that were given out, and by what is measured, whichever is less. */
  view(placed: Room): { readonly free: Room; readonly isEmpty: boolean } {
    const total = this.#total ?? { cpu: 0, memoryGib: 0 };
    const unplacedGib = Math.max(0, total.memoryGib - placed.memoryGib);
    const { memoryOvercommit } = this.#deps;
    const measuredGib = this.#measured === null ? Infinity : measuredFreeGib(this.#measured, placed.memoryGib, memoryOvercommit);
    return {
      free: { cpu: Math.max(0, total.cpu - placed.cpu), memoryGib: Math.min(unplacedGib, measuredGib) },
      isEmpty: placed.cpu === 0 && placed.memoryGib === 0,
    };
  }

  hasRoom(needs: Room, placed: Room): boolean {
    const { free, isEmpty } = this.view(placed);
    if (isEmpty || fits(needs, free)) return true;
    this.#lackedMs = this.#deps.clock.monotonicMs();
    this.onShort({ cpu: Math.max(0, needs.cpu - free.cpu), memoryGib: Math.max(0, needs.memoryGib - free.memoryGib) });
    return false;
  }

  /** Runs cannot be placed here, or memory is tight: then whoever waits makes room. */
  get isShort(): boolean {
    return this.#isTight || this.#deps.clock.monotonicMs() - this.#lackedMs < SHORT_FOR_MS;
  }

  /** Whether it makes sense to ask for a run. */
  canTakeAny(placed: Room): boolean {
    return this.#total !== null && this.hasRoom(SMALLEST, placed);
  }
}

function templateOf(image: string | undefined, { cpu, memoryGib }: Room): string {
  return `${/@sha256:([0-9a-f]{64})$/.exec(image ?? "")?.[1]} ${cpu} ${memoryGib}`;
}
