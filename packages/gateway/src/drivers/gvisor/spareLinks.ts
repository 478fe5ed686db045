// Keeps one network link ready, so that a start does not wait the 15 ms that making one takes.
import type { Log } from "@torpor/observe";
import type { Link, Network } from "./network.ts";

export class SpareLinks {
  readonly #network: Network;
  readonly #log: Log;
  #spare: Promise<Link | undefined> | undefined;
  #closed = false;

  constructor(network: Network, log: Log) {
    this.#network = network;
    this.#log = log;
  }

  /** A link that is made and belongs to the caller; undefined when there is no address left or the host refuses. */
  async take(): Promise<Link | undefined> {
    const ready = this.#spare;
    this.#spare = undefined;
    const link = (await ready) ?? (await this.#make());
    this.refill();
    return link;
  }

  /** Makes the next one in the background. */
  refill(): void {
    if (!this.#closed) this.#spare ??= this.#make();
  }

  async close(): Promise<void> {
    this.#closed = true;
    const link = await this.#spare;
    this.#spare = undefined;
    if (link !== undefined) await this.#network.remove(link);
  }

  async #make(): Promise<Link | undefined> {
    const link = this.#network.reserve();
    if (link === undefined) return undefined;
    try {
      await this.#network.make(link);
      return link;
    } catch (error) {
      this.#log.error({ err: error, namespace: link.namespace }, "cannot make a network link");
      await this.#network.remove(link).catch((again: unknown) => this.#log.error({ err: again }, "cannot remove half a network link"));
      return undefined;
    }
  }
}
