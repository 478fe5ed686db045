// Who learns of a sandbox's end: one watch per living sandbox, told to the listener once, and not for ends that were asked for.
import { sleep, type Clock } from "@torpor/kernel";
import type { SandboxExit, SandboxId } from "../driver.ts";
import type { ExitWatch, Runsc } from "./runsc.ts";

/** A watch that ends while the sandbox lives (it was killed, or the host was out of memory) is begun again after this time. */
const REWATCH_MS = 500;
/** Of a first process that was killed with signal 9. */
const SIGKILLED = 137;

export class ExitWatches {
  readonly #watches = new Map<SandboxId, ExitWatch>();
  readonly #runsc: Runsc;
  readonly #clock: Clock;
  readonly #hasKilledForMemory: (id: SandboxId) => Promise<boolean>;
  #listener: (exit: SandboxExit) => void = () => undefined;

  constructor(runsc: Runsc, clock: Clock, hasKilledForMemory: (id: SandboxId) => Promise<boolean>) {
    this.#runsc = runsc;
    this.#clock = clock;
    this.#hasKilledForMemory = hasKilledForMemory;
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
    // Its task's process may have been killed for memory before, and its runner have ended in good order
    const outOfMemory = (exitCode === null || exitCode === SIGKILLED) && (await this.#hasKilledForMemory(id));
    if (this.#watches.get(id) !== watch) return;
    this.#watches.delete(id);
    this.#listener({ id, exitCode, ...(outOfMemory ? { outOfMemory } : {}) });
  }

  async #isAlive(id: SandboxId): Promise<boolean> {
    const state = await this.#runsc.state(id);
    return state?.status === "running" || state?.status === "paused";
  }
}
