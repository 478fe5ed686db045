// What a supervisor does by itself, once its ports are open: it makes itself known, takes over what an earlier one left, takes runs,
// and looks after what it has.
import { sleep, type Clock } from "@torpor/kernel";
import type { Log, Metrics } from "@torpor/observe";
import type { SupervisorConfig } from "./config.ts";
import type { Core } from "./core.ts";

/** What a start waits for: the gateway's list of sandboxes. Beyond this it takes runs all the same and goes on looking. */
const FIRST_LOOK_MS = 30_000;
const FIRST_LOOK_RETRY_MS = 500;
const LAST_WORDS_MS = 1_000;

export interface LifeParts {
  readonly deps: { readonly clock: Clock; readonly log: Log; readonly metrics: Metrics };
  readonly stop: AbortSignal;
}

/** Everything that goes on by itself. Resolves when runs are being taken. */
export async function begin(config: SupervisorConfig, core: Core, { deps, stop }: LifeParts): Promise<void> {
  const { clock, log } = deps;
  await core.presence.connect();
  while (!stop.aborted && !(await core.room.refresh())) await sleep(clock, FIRST_LOOK_RETRY_MS, stop);
  const untilMs = clock.monotonicMs() + FIRST_LOOK_MS;
  while (!stop.aborted && !(await core.caretaker.look({ atStart: true })) && clock.monotonicMs() < untilMs)
    await sleep(clock, FIRST_LOOK_RETRY_MS, stop);
  if (stop.aborted || core.state.draining) return;
  core.events.start();
  core.consumers.start();
  core.state.ready = true;
  void core.presence.beat();
  void lookAfter(config, core, { deps, stop });
  log.info({ snapshots: config.snapshots.kind, canSnapshot: core.room.canSnapshot }, "taking runs");
}

async function lookAfter(config: SupervisorConfig, core: Core, { deps, stop }: LifeParts): Promise<void> {
  const { clock, log, metrics } = deps;
  while ((await sleep(clock, config.sweepIntervalMs, stop)) === "slept") {
    try {
      await core.room.refresh();
      if (core.room.isTight) core.warm.door?.clear();
      await core.caretaker.look();
      await core.sweeper.sweep();
      metrics.gauge("torpor_runners", [...core.runners.all()].length);
      metrics.gauge("torpor_intents", core.intents.size);
    } catch (error) {
      log.error({ err: error }, "looking after the sandboxes failed, unforeseen");
    }
  }
}

/** In an order that loses nothing: no new runs, then sleeps, then what is told. The ports are closed by whoever opened them. */
export async function drain(
  config: SupervisorConfig,
  core: Core,
  { deps, stop }: Pick<LifeParts, "deps"> & { readonly stop: AbortController },
): Promise<void> {
  core.state.draining = true;
  core.handOffs?.close();
  core.warm.door?.clear();
  const drained = Promise.all([core.consumers.drain(), core.intents.drain(), core.earlyWakes.close()]);
  const limit = new AbortController();
  const late = sleep(deps.clock, config.drainMs, limit.signal).then(() => "late" as const);
  const end = await Promise.race([drained.then(() => "drained" as const), late]);
  limit.abort();
  if (end === "late") deps.log.warn({ drainMs: config.drainMs }, "not everything was done in time; the next start finds it");
  stop.abort();
  await Promise.all([core.events.close(), Promise.race([core.timeline.close(), sleep(deps.clock, LAST_WORDS_MS)])]);
}
