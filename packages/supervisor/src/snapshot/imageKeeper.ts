import type { Gateway } from "../gateway/gateway.ts";

/** Beyond this the sweeper alone finds what is left. */
const MAX_KEPT = 100_000;

/** Which memory image each sleeping run has here, to delete it as soon as the run needs it no more (L7). */
export class ImageKeeper {
  readonly #gateway: Gateway;
  readonly #byRun = new Map<string, string>();
  readonly #accepted = new Set<string>();

  constructor(deps: { readonly gateway: Gateway }) {
    this.#gateway = deps.gateway;
  }

  keep(runId: string, imageId: string): void {
    this.#byRun.set(runId, imageId);
    this.#accepted.add(imageId);
    if (this.#byRun.size > MAX_KEPT) this.#byRun.delete(this.#byRun.keys().next().value ?? "");
    if (this.#accepted.size > MAX_KEPT) this.#accepted.delete(this.#accepted.values().next().value ?? "");
  }

  /** Whether the platform has accepted this image as a run's checkpoint here: then nothing about it is on its way any more. */
  isAccepted(imageId: string): boolean {
    return this.#accepted.has(imageId);
  }

  /** The image is deleted. */
  forget(imageId: string): void {
    this.#accepted.delete(imageId);
  }

  /** The run goes on or is over. What cannot be deleted now is swept later. */
  async release(runId: string): Promise<void> {
    const imageId = this.#byRun.get(runId);
    if (imageId === undefined) return;
    this.#byRun.delete(runId);
    this.forget(imageId);
    await this.#gateway.removeImage(imageId);
  }
}
