// Hashes files in threads: 150 MB take 100 ms, during which this process must go on answering.
import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import type { HashAnswer, HashJob } from "./hashWorker.ts";

/** Small enough that two cores share one file, large enough that a message for each costs nothing. */
export const HASH_CHUNK_BYTES = 16 * 1024 * 1024;

interface Waiting {
  readonly resolve: (digest: string) => void;
  readonly reject: (error: Error) => void;
}

/** A few threads that hash pieces of files. Started on first use; they do not keep the process alive. */
export class FileHasher {
  readonly #workers: Worker[] = [];
  readonly #waiting = new Map<number, Waiting>();
  #next = 0;

  /** Starts the threads ahead of the first file: each takes 100 ms, and a sandbox would stand still for it. */
  warmUp(): void {
    this.#worker(0);
  }

  /** sha256 (hex) of each piece of the file, in order. Throws when it cannot be read. */
  async hash(path: string, sizeBytes: number): Promise<string[]> {
    const count = Math.max(1, Math.ceil(sizeBytes / HASH_CHUNK_BYTES));
    return await Promise.all(Array.from({ length: count }, (_, index) => this.#chunk(path, index * HASH_CHUNK_BYTES)));
  }

  async close(): Promise<void> {
    await Promise.all(this.#workers.splice(0).map((worker) => worker.terminate()));
    this.#failAll(new Error("Cannot hash: closed"));
  }

  #chunk(path: string, offset: number): Promise<string> {
    const id = this.#next++;
    const worker = this.#worker(id);
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      worker.postMessage({ id, path, offset, length: HASH_CHUNK_BYTES } satisfies HashJob);
    });
  }

  #worker(id: number): Worker {
    const count = Math.min(4, availableParallelism());
    while (this.#workers.length < count) this.#workers.push(this.#start());
    const worker = this.#workers[id % count];
    if (worker === undefined) throw new Error(`Cannot find hashing thread ${id % count}`);
    return worker;
  }

  #start(): Worker {
    const worker = new Worker(new URL("./hashWorker.ts", import.meta.url));
    worker.unref();
    worker.on("message", (answer: HashAnswer) => this.#settle(answer));
    worker.on("error", (error) => {
      this.#workers.splice(this.#workers.indexOf(worker), 1);
      this.#failAll(error instanceof Error ? error : new Error(String(error)));
    });
    return worker;
  }

  #settle(answer: HashAnswer): void {
    const waiting = this.#waiting.get(answer.id);
    this.#waiting.delete(answer.id);
    if ("digest" in answer) waiting?.resolve(answer.digest);
    else waiting?.reject(new Error(answer.error));
  }

  #failAll(error: Error): void {
    for (const waiting of this.#waiting.values()) waiting.reject(error);
    this.#waiting.clear();
  }
}
