// Who learns of a sandbox's end: one watch per living sandbox, told to the listener once, and not for ends that were asked for.
import { sleep, type Clock } from "@torpor/kernel";
import type { SandboxExit, SandboxId } from "../driver.ts";
import type { ExitWatch, Runsc } from "./runsc.ts";

/** A watch that ends while the sandbox lives (it was killed, or the host was out of memory) is begun again after this time. */
const REWATCH_MS = 500;

export class ExitWatches {
  readonly #watches = new Map<SandboxId, ExitWatch>();
  readonly #runsc: Runsc;
  readonly #clock: Clock;
  #listener: (exit: SandboxExit) => void = () => undefined;

  constructor(runsc: Runsc, clock: Clock) {
    this.#runsc = runsc;
    this.#clock = clock;
  }

  listen(listener: (exit: SandboxExit) => void): void {
    this.#listener = listener;
  }

  /** Begins to watch. Idempotent. */
  watch(id: SandboxId): void {
    if (this.#watches.has(id)) return;
    const watch = this.#runsc.watchExit(id);
    this.#watches.set(id, watch);
    void watch.exited.then((exitCode) => this.#ended(id, watch, exitCode));
  }

  /** The sandbox's end is no news any more. */
  forget(id: SandboxId): void {
    const watch = this.#watches.get(id);
    this.#watches.delete(id);
    watch?.stop();
  }

  ids(): SandboxId[] {
    return [...this.#watches.keys()];
  }

  close(): void {
    for (const id of this.ids()) this.forget(id);
  }

  async #ended(id: SandboxId, watch: ExitWatch, exitCode: number | null): Promise<void> {
    if (this.#watches.get(id) !== watch) return;
    if (exitCode === null && (await this.#isAlive(id))) {
      await sleep(this.#clock, REWATCH_MS);
      if (this.#watches.get(id) !== watch) return;
      this.#watches.delete(id);
      return this.watch(id);
    }
    if (this.#watches.get(id) !== watch) return;
    this.#watches.delete(id);
    this.#listener({ id, exitCode });
  }

  async #isAlive(id: SandboxId): Promise<boolean> {
    const state = await this.#runsc.state(id);
    return state?.status === "running" || state?.status === "paused";
  }
}
