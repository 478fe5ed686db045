import type { Gateway } from "../gateway/gateway.ts";

/** Beyond this the sweeper alone finds what is left. */
const MAX_KEPT = 100_000;

/** Which memory image each sleeping run has here, to delete it as soon as the run needs it no more (L7). */
export class ImageKeeper {
  readonly #gateway: Gateway;
  readonly #byRun = new Map<string, string>();

  constructor(deps: { readonly gateway: Gateway }) {
    this.#gateway = deps.gateway;
  }

  keep(runId: string, imageId: string): void {
    this.#byRun.set(runId, imageId);
    if (this.#byRun.size > MAX_KEPT) this.#byRun.delete(this.#byRun.keys().next().value ?? "");
  }

  /** The run goes on or is over. What cannot be deleted now is swept later. */
  async release(runId: string): Promise<void> {
    const imageId = this.#byRun.get(runId);
    if (imageId === undefined) return;
    this.#byRun.delete(runId);
    await this.#gateway.removeImage(imageId);
  }
}
