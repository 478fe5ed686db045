// The gateway seals memory images in threads. In a simulation pieces are copied as they are, on the simulated disk: what is tried
// here is when and where an image is written, moved and destroyed, not its encryption.
import { openFile } from "./memoryFs.ts";

interface Place {
  readonly index: number;
  readonly plainBytes: number;
}

interface Spot {
  readonly offset: number;
  readonly length: number;
  readonly encoding: "raw";
}

type Job =
  | { readonly kind: "seal"; readonly fromFd: number; readonly toFd: number; readonly place: Place; readonly end: BigUint64Array }
  | { readonly kind: "open"; readonly fromFd: number; readonly toFd: number; readonly place: Place; readonly spot: Spot };

type Result = { readonly kind: "sealed"; readonly spot: Spot } | { readonly kind: "opened" };

/** As large as the gateway's own pieces. */
const CHUNK_BYTES = 1024 * 1024;

/** Stands for the gateway's own. */
export class SealThreads {
  warmUp(): void {}

  async run(job: Job, _urgency: "wake" | "sleep", signal?: AbortSignal): Promise<Result> {
    if (signal?.aborted === true) throw new Error("Cannot seal: cut off");
    const { plainBytes, index } = job.place;
    const [source, target] = [openFile(job.fromFd), openFile(job.toFd)];
    if (job.kind === "open") {
      await target.copyFrom(source, { from: job.spot.offset, length: plainBytes, to: index * CHUNK_BYTES });
      return { kind: "opened" };
    }
    const offset = Number(job.end[0]);
    job.end[0] = BigInt(offset + plainBytes);
    await target.copyFrom(source, { from: index * CHUNK_BYTES, length: plainBytes, to: offset });
    return { kind: "sealed", spot: { offset, length: plainBytes, encoding: "raw" } };
  }

  async close(): Promise<void> {}
}
