import type { Core } from "./core.ts";
import { resumeIfFree } from "./resume.ts";

/** Resumes runs at once, without waiting for the timers that stand for it; what fails here, they do. */
export class Resumer {
  readonly #core: Core;
  readonly #running = new Set<Promise<void>>();

  constructor(core: Core) {
    this.#core = core;
  }

  resume(runId: string): void {
    const work = resumeIfFree(this.#core, runId)
      .catch((error: unknown) => this.#core.log.warn({ err: error, run: runId }, "cannot resume a run at once; its timer will"))
      .finally(() => this.#running.delete(work));
    this.#running.add(work);
  }

  /** Waits for those in flight. */
  async close(): Promise<void> {
    await Promise.all(this.#running);
  }
}
