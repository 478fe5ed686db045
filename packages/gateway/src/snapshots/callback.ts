// Callbacks: what became of a snapshot, told to whoever asked for it. Signed over the whole body (L15), kept on disk until it is
// acknowledged, repeated until then.
import { createHmac } from "node:crypto";
import { mkdir, readFile, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { CALLBACK_KEY_LABEL, CALLBACK_SIGNATURE_HEADER, MemoryImageId } from "@torpor/contracts";
import { backoffMs, sleep, type Clock, type Random, type Secret } from "@torpor/kernel";
import type { Log, Metrics } from "@torpor/observe";
import { request } from "undici";
import { z } from "zod";
import { writeWhole } from "../fileWrites.ts";

const Letter = z.object({
  memoryImageId: MemoryImageId,
  url: z.string(),
  /** The body as it is sent, the same at each try. */
  body: z.string(),
  /** Wall time after which it is not worth sending. */
  untilMs: z.number(),
});
export type Letter = z.infer<typeof Letter>;

/** `acknowledged`: 2xx. `refused`: the caller does not want it. `expired`: nobody answered in time. */
export type Delivery = "acknowledged" | "refused" | "expired";

/** Sends one letter; the status, or undefined when there was no answer. */
export type Post = (
  url: string,
  body: string,
  headers: Readonly<Record<string, string>>,
  signal: AbortSignal,
) => Promise<number | undefined>;

export interface OutboxOptions {
  readonly dir: string;
  readonly token: Secret;
  readonly post: Post;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly metrics: Metrics;
}

const FIRST_WAIT_MS = 100;
const MAX_WAIT_MS = 5_000;

/** Delivers letters, each in its own loop. */
export class Outbox {
  readonly #options: OutboxOptions;
  readonly #closing = new AbortController();
  readonly #loops = new Set<Promise<void>>();

  constructor(options: OutboxOptions) {
    this.#options = options;
  }

  /**
   * Takes a letter; when this resolves it is on disk, or, when the disk is full, only in memory. `settled` hears how it ended,
   * unless we are closed first.
   */
  async send(letter: Letter, settled: (delivery: Delivery) => Promise<void>): Promise<void> {
    try {
      await mkdir(this.#options.dir, { recursive: true, mode: 0o700 });
      await writeWhole(this.#file(letter.memoryImageId), JSON.stringify(letter));
    } catch (error) {
      this.#options.log.error(
        { err: error, memoryImage: letter.memoryImageId },
        "cannot keep a callback on disk: a restart will forget it",
      );
    }
    this.#begin(letter, settled);
  }

  /** The letters that an earlier process did not get rid of. To be asked before the first is sent, so that none of ours is among them. */
  async left(): Promise<Letter[]> {
    const names = await readdir(this.#options.dir).catch(() => [] as string[]);
    const letters: Letter[] = [];
    for (const name of names) {
      const path = join(this.#options.dir, name);
      const letter = name.endsWith(".json") ? readLetter(await readFile(path, "utf8")) : undefined;
      if (letter !== undefined) letters.push(letter);
      else await rm(path, { force: true }); // a kill or a power cut left it half written
    }
    return letters;
  }

  /** Goes on with letters that are on disk already. */
  resume(letters: readonly Letter[], settled: (letter: Letter, delivery: Delivery) => Promise<void>): void {
    for (const letter of letters) this.#begin(letter, (delivery) => settled(letter, delivery));
  }

  /** Stops sending; what is not acknowledged stays on disk for the next start. */
  async close(): Promise<void> {
    this.#closing.abort();
    await Promise.all(this.#loops);
  }

  #file(id: MemoryImageId): string {
    return join(this.#options.dir, `${id}.json`);
  }

  #begin(letter: Letter, settled: (delivery: Delivery) => Promise<void>): void {
    const loop = this.#deliver(letter, settled)
      .catch((error: unknown) => this.#options.log.error({ err: error, memoryImage: letter.memoryImageId }, "cannot finish a callback"))
      .finally(() => this.#loops.delete(loop));
    this.#loops.add(loop);
  }

  async #deliver(letter: Letter, settled: (delivery: Delivery) => Promise<void>): Promise<void> {
    const { clock, random } = this.#options;
    for (let attempt = 1; ; attempt++) {
      const delivery = await this.#try(letter, attempt);
      if (this.#closing.signal.aborted && delivery === undefined) return;
      if (delivery !== undefined) {
        this.#options.metrics.count("torpor_gateway_callbacks_total", { outcome: delivery });
        await rm(this.#file(letter.memoryImageId), { force: true });
        return await settled(delivery);
      }
      await sleep(
        clock,
        backoffMs(attempt, { baseMs: FIRST_WAIT_MS, factor: 2, maxMs: MAX_WAIT_MS, random: () => random.unit() }),
        this.#closing.signal,
      );
    }
  }

  /** One try; undefined when it is worth another. */
  async #try({ url, body, untilMs, memoryImageId }: Letter, attempt: number): Promise<Delivery | undefined> {
    const { clock, log, post, token } = this.#options;
    if (clock.nowMs() >= untilMs) return "expired";
    const headers = { "content-type": "application/json", [CALLBACK_SIGNATURE_HEADER]: signature(token, clock.nowMs(), body) };
    const status = await post(url, body, headers, this.#closing.signal);
    if (status !== undefined && status >= 200 && status < 300) return "acknowledged";
    log.warn({ memoryImage: memoryImageId, status, attempt }, "a callback was not acknowledged");
    return status !== undefined && isFinal(status) ? "refused" : undefined;
  }
}

function readLetter(text: string): Letter | undefined {
  try {
    return Letter.parse(JSON.parse(text));
  } catch {
    return undefined; // the caller removes it
  }
}

/** Refusals that a repetition does not change: 4xx but "too slow", "too early" and "too many". */
function isFinal(status: number): boolean {
  return status >= 400 && status < 500 && status !== 408 && status !== 425 && status !== 429;
}

/** The value of the signature header: see the contract. */
export function signature(token: Secret, nowMs: number, body: string): string {
  const key = createHmac("sha256", token.reveal()).update(CALLBACK_KEY_LABEL).digest();
  return `t=${nowMs},v1=${createHmac("sha256", key).update(`${nowMs}.${body}`).digest("hex")}`;
}

const POST_TIMEOUT_MS = 10_000;

/** Sends over HTTP. */
export const httpPost: Post = async (url, body, headers, signal) => {
  try {
    const response = await request(url, {
      method: "POST",
      body,
      headers,
      signal: AbortSignal.any([signal, AbortSignal.timeout(POST_TIMEOUT_MS)]),
    });
    await response.body.dump();
    return response.statusCode;
  } catch {
    return undefined; // no answer: the caller of this decides how often to try
  }
};
