import { randomText, systemClock, systemRandom, type Clock, type Random } from "@torpor/kernel";
import { silentLog, type Log } from "@torpor/observe";
import type { Engine } from "./api.ts";
import { friendly } from "./domain/ids.ts";
import { encryptionKeyBytes } from "./domain/sealing.ts";
import { completeSettings, type EngineSettingsInput } from "./domain/settings.ts";
import { operations } from "./operations.ts";
import type { Core } from "./operations/core.ts";
import { Dispatcher } from "./operations/dispatcher.ts";
import { Resumer } from "./operations/resumer.ts";
import { undoHandOut } from "./operations/suspend.ts";
import { Database } from "./sql/database.ts";
import { migrate } from "./sql/migrate.ts";
import { armTimers } from "./sql/timers.ts";
import { fireTimer } from "./timers/effects.ts";
import { Listener } from "./timers/listener.ts";
import { TimerLoop } from "./timers/loop.ts";
import { WakeSender } from "./timers/wakes.ts";

export interface EngineOptions {
  readonly connectionString: string;
  readonly settings: EngineSettingsInput;
  readonly clock?: Clock;
  readonly random?: Random;
  readonly log?: Log;
}

/** Builds an engine on a PostgreSQL database. Nothing is opened before `start`. */
export function createEngine(options: EngineOptions): Engine {
  const { connectionString, clock = systemClock, random = systemRandom, log = silentLog } = options;
  const settings = completeSettings(options.settings);
  const db = new Database({ connectionString, poolSize: settings.poolSize, log });
  // Operations wake the three that wait, and those call operations: the knot is tied through `core`.
  const wakes = new WakeSender({ db, clock, log }, randomText(random, 12));
  const core: Core = { db, clock, random, settings, log, wakes };
  const dispatcher = new Dispatcher(core, (worker, message) => undoHandOut(core, worker, message.run.id, message.snapshot.id));
  const loop = new TimerLoop(core, (timer) => fireTimer(core, timer));
  const resumer = new Resumer(core);
  wakes.connect({ dispatcher, loop, resumer });
  const runListeners = new Set<(runId: string) => void>();
  const promotionListeners = new Set<(environmentId: string) => void>();
  const listener = new Listener(connectionString, core, {
    runChanged: (runId) => runListeners.forEach((tell) => tell(friendly("run", runId))),
    promoted: (environmentId) => promotionListeners.forEach((tell) => tell(environmentId)),
    woken: (message) => wakes.receive(message),
    connected: () => wakes.catchUp(),
  });
  let closing: Promise<void> | undefined;
  return {
    ...operations(core, dispatcher, { key: encryptionKeyBytes(settings.encryptionKey) }),
    onRunChanged(tell) {
      runListeners.add(tell);
      return () => void runListeners.delete(tell);
    },
    onPromoted(tell) {
      promotionListeners.add(tell);
      return () => void promotionListeners.delete(tell);
    },
    async start() {
      await migrate(connectionString);
      await armTimers(db, "sweep", ["all"], new Date(clock.nowMs() + settings.sweepEveryMs));
      loop.start();
      await listener.start();
    },
    close: () => (closing ??= closeInOrder([wakes, dispatcher, loop, resumer, listener, db])),
  };
}

/** What takes work goes before what work needs. */
async function closeInOrder(parts: readonly { close(): Promise<void> | void }[]): Promise<void> {
  for (const part of parts) await part.close();
}
