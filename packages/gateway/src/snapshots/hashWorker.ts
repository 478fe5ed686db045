// A thread that hashes pieces of files.
import { createHash } from "node:crypto";
import { closeSync, openSync, readSync } from "node:fs";
import { parentPort } from "node:worker_threads";

export interface HashJob {
  readonly id: number;
  readonly path: string;
  readonly offset: number;
  readonly length: number;
}

export type HashAnswer = { readonly id: number; readonly digest: string } | { readonly id: number; readonly error: string };

const READ_BYTES = 1024 * 1024;
const buffer = Buffer.allocUnsafe(READ_BYTES);

function digestOf({ path, offset, length }: HashJob): string {
  const hash = createHash("sha256");
  const fd = openSync(path, "r");
  try {
    for (let done = 0; done < length;) {
      const count = readSync(fd, buffer, 0, Math.min(READ_BYTES, length - done), offset + done);
      if (count === 0) break;
      hash.update(buffer.subarray(0, count));
      done += count;
    }
  } finally {
    closeSync(fd);
  }
  return hash.digest("hex");
}

parentPort?.on("message", (job: HashJob) => {
  let answer: HashAnswer;
  try {
    answer = { id: job.id, digest: digestOf(job) };
  } catch (error) {
    answer = { id: job.id, error: error instanceof Error ? error.message : String(error) };
  }
  parentPort?.postMessage(answer);
});
