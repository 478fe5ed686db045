// A thread that runs seeds. It loads the parts' code for itself, with a mutant in it or without.
import { Worker } from "node:worker_threads";
import type { Mutant } from "./mutants/mutant.ts";
import type { ThreadAnswer, ThreadRequest } from "./serve.ts";

/** A plane is garbage as soon as it has ended: with room for several of them, hardly any outlives a collection of the young. */
const YOUNG_GENERATION_MB = 128;

export class SimThread {
  readonly #worker: Worker;
  /** What it died of. */
  #failure: Error | null = null;
  readonly #waiting: { resolve: (answer: ThreadAnswer) => void; reject: (error: Error) => void }[] = [];

  constructor(mutant: Mutant | null) {
    this.#worker = new Worker(new URL("./worker.ts", import.meta.url), {
      workerData: { mutant },
      resourceLimits: { maxYoungGenerationSizeMb: YOUNG_GENERATION_MB },
    });
    this.#worker.on("message", (answer: ThreadAnswer) => this.#waiting.shift()?.resolve(answer));
    this.#worker.on("error", (error) => {
      this.#failure = error instanceof Error ? error : new Error(String(error));
      for (const { reject } of this.#waiting.splice(0)) reject(this.#failure);
    });
  }

  /** It can be asked nothing more. */
  get isDead(): boolean {
    return this.#failure !== null;
  }

  /** Rejects when the thread fails, and when what it was asked for throws. */
  async ask<K extends ThreadRequest["kind"]>(request: ThreadRequest & { kind: K }): Promise<Extract<ThreadAnswer, { kind: K }>> {
    const answer = await new Promise<ThreadAnswer>((resolve, reject) => {
      if (this.#failure !== null) return reject(this.#failure);
      this.#waiting.push({ resolve, reject });
      this.#worker.postMessage(request);
    });
    if (answer.kind === "error") throw new Error(answer.text);
    return answer as Extract<ThreadAnswer, { kind: K }>;
  }

  async close(): Promise<void> {
    await this.#worker.terminate();
  }
}
