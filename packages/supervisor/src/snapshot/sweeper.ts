// Deletes memory images that no run can be restored from any more (L7): those of runs that were cancelled while asleep, of
// suspensions that the platform did not take, and what a crash left behind.
import type { Clock } from "@torpor/kernel";
import type { Log, Metrics } from "@torpor/observe";
import type { Gateway } from "../gateway/gateway.ts";
import type { ImageKeeper } from "./imageKeeper.ts";
import { isMissingRoute, type Platform } from "../platform/platform.ts";

/** A younger image that we know nothing of may be one whose suspension is being reported right now. */
const MIN_AGE_MS = 60_000;
const BATCH = 1_000;

export interface SweeperDeps {
  readonly gateway: Gateway;
  readonly platform: Platform;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly images: ImageKeeper;
}

export class Sweeper {
  readonly #deps: SweeperDeps;
  /** Since when each image is known here (monotonic): its own date is of no use when somebody has put the clock back. */
  #firstSeenMs = new Map<string, number>();
  #supported = true;
  #working: Promise<void> | null = null;

  constructor(deps: SweeperDeps) {
    this.#deps = deps;
  }

  /** Deletes what is dead; whoever asks meanwhile waits for the same sweep. An image is kept when the platform cannot be asked. */
  sweep(): Promise<void> {
    this.#working ??= this.#sweep().finally(() => {
      this.#working = null;
    });
    return this.#working;
  }

  async #sweep(): Promise<void> {
    if (!this.#supported) return;
    const { gateway, platform, clock, log, metrics, images: kept } = this.#deps;
    const images = await gateway.images();
    if (images.kind !== "ok") return;
    const atRest = images.body.snapshots.filter(({ state }) => state === "stored" || state === "consumed");
    metrics.gauge("torpor_memory_images", atRest.length);
    metrics.gauge(
      "torpor_memory_images_size_bytes",
      atRest.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    );
    const nowMs = clock.monotonicMs();
    this.#firstSeenMs = new Map(atRest.map(({ id }) => [id, this.#firstSeenMs.get(id) ?? nowMs]));
    const isOld = ({ id, createdAt }: (typeof atRest)[number]): boolean =>
      clock.nowMs() - createdAt.getTime() >= MIN_AGE_MS || nowMs - (this.#firstSeenMs.get(id) ?? nowMs) >= MIN_AGE_MS;
    const old = atRest.filter((image) => kept.isAccepted(image.id) || isOld(image)).map(({ id }) => id as string);
    for (let start = 0; start < old.length; start += BATCH) {
      const batch = old.slice(start, start + BATCH);
      const answer = await platform.liveCheckpoints(batch);
      if (isMissingRoute(answer)) {
        this.#supported = false;
        return log.info(
          {},
          "the platform does not tell which checkpoints are live: images are deleted when their run continues or ends here, no sooner",
        );
      }
      if (answer.kind !== "ok") return;
      const live = new Set(answer.body.live);
      for (const imageId of batch.filter((id) => !live.has(id))) {
        log.info({ imageId }, "a memory image that no run needs is deleted");
        metrics.count("torpor_memory_images_swept_total");
        kept.forget(imageId);
        await gateway.removeImage(imageId);
      }
    }
  }
}
