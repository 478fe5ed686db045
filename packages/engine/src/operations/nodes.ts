import type { WorkerRef } from "../api.ts";
import { nodeOf } from "../domain/nodes.ts";
import { touchNode } from "../sql/nodes.ts";
import { now, type Core } from "./core.ts";

/** Names are the nodes' own, and a node may take a new one at each start. */
const MAX_REMEMBERED = 10_000;

/** Notes that nodes which ask for runs are there: a few times within the time after which a node counts as lost, not each time. */
export class NodesHeard {
  readonly #core: Core;
  readonly #notedMs = new Map<string, number>();

  constructor(core: Core) {
    this.#core = core;
  }

  async heard(worker: WorkerRef): Promise<void> {
    const { clock, db, settings, log } = this.#core;
    const node = nodeOf(worker);
    const nowMs = clock.monotonicMs();
    const notedMs = this.#notedMs.get(node);
    if (notedMs !== undefined && nowMs - notedMs < settings.nodeLostAfterMs / 4) return;
    this.#remember(node, nowMs);
    try {
      await touchNode(db, worker, {}, now(this.#core));
    } catch (error) {
      this.#notedMs.delete(node);
      log.warn({ err: error, node }, "cannot note that a node asks for runs");
    }
  }

  #remember(node: string, nowMs: number): void {
    this.#notedMs.delete(node);
    this.#notedMs.set(node, nowMs);
    if (this.#notedMs.size > MAX_REMEMBERED) this.#notedMs.delete(this.#notedMs.keys().next().value ?? "");
  }
}
