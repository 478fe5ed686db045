// The threads that seal and open memory images: 150 MB take half a second of CPU, during which this process must go on answering.
import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import type { ChunkAnswer, ChunkJob, ChunkOrder, ChunkResult } from "./sealWorker.ts";

/** Waking goes before falling asleep: a piece takes 2 ms, and a wake waits for no more than that. */
export type Urgency = "wake" | "sleep";

interface Waiting {
  readonly id: number;
  readonly job: ChunkJob;
  readonly signal: AbortSignal | undefined;
  readonly resolve: (result: ChunkResult) => void;
  readonly reject: (error: Error) => void;
}

interface Thread {
  readonly worker: Worker;
  readonly busy: Map<number, Waiting>;
}

const MAX_THREADS = 4;
/**
 * One piece in work and some at hand: a thread does not wait for this process to look up. A thread that seals has one at hand, so that
 * a wake that comes has to wait for two at most; nothing may overtake a wake.
 */
const IN_FLIGHT: Readonly<Record<Urgency, number>> = { wake: 8, sleep: 2 };

/** Started on first use; they do not keep the process alive. */
export class SealThreads {
  readonly #threads: Thread[] = [];
  readonly #queues: Readonly<Record<Urgency, Waiting[]>> = { wake: [], sleep: [] };
  #nextId = 0;

  /** Starts the threads ahead of the first image: each takes 100 ms, and a sandbox would stand still for it. */
  warmUp(): void {
    while (this.#threads.length < Math.min(MAX_THREADS, availableParallelism())) this.#threads.push(this.#start());
  }

  /** Does one piece. Rejects when it cannot be read or written, or when `signal` fires before its turn. */
  run(job: ChunkJob, urgency: Urgency, signal?: AbortSignal): Promise<ChunkResult> {
    this.warmUp();
    return new Promise((resolve, reject) => {
      this.#queues[urgency].push({ id: this.#nextId++, job, signal, resolve, reject });
      this.#dispatch();
    });
  }

  async close(): Promise<void> {
    const threads = this.#threads.splice(0);
    await Promise.all(threads.map(({ worker }) => worker.terminate()));
    for (const thread of threads) failAll(thread.busy.values(), new Error("Cannot seal: closed"));
    for (const queue of Object.values(this.#queues)) failAll(queue.splice(0), new Error("Cannot seal: closed"));
  }

  #dispatch(): void {
    for (;;) {
      const thread = this.#threads.toSorted((a, b) => a.busy.size - b.busy.size)[0];
      const urgency = this.#queues.wake.length > 0 ? "wake" : "sleep";
      if (thread === undefined || thread.busy.size >= IN_FLIGHT[urgency]) return;
      const next = this.#queues[urgency].shift();
      if (next === undefined) return;
      if (next.signal?.aborted === true) next.reject(new Error("Cannot seal: cut off"));
      else {
        thread.busy.set(next.id, next);
        // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread has no origin
        thread.worker.postMessage({ id: next.id, job: next.job } satisfies ChunkOrder);
      }
    }
  }

  #start(): Thread {
    const worker = new Worker(new URL("./sealWorker.ts", import.meta.url));
    const thread: Thread = { worker, busy: new Map() };
    worker.unref();
    worker.on("message", (answer: ChunkAnswer) => this.#settle(thread, answer));
    worker.on("error", (error) => {
      const at = this.#threads.indexOf(thread);
      if (at >= 0) this.#threads.splice(at, 1);
      failAll(thread.busy.values(), error instanceof Error ? error : new Error(String(error)));
      if (this.#queues.wake.length + this.#queues.sleep.length > 0) this.warmUp();
      this.#dispatch();
    });
    return thread;
  }

  #settle(thread: Thread, answer: ChunkAnswer): void {
    const waiting = thread.busy.get(answer.id);
    thread.busy.delete(answer.id);
    if ("result" in answer) waiting?.resolve(answer.result);
    else waiting?.reject(Object.assign(new Error(answer.error), { code: answer.code }));
    this.#dispatch();
  }
}

function failAll(waiting: Iterable<Waiting>, error: Error): void {
  for (const { reject } of waiting) reject(error);
}
