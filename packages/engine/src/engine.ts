import { randomText, systemClock, systemRandom, type Clock, type Random } from "@torpor/kernel";
import type { Log } from "@torpor/observe";
import { silentLog } from "@torpor/observe";
import type { Engine } from "./api.ts";
import { encryptionKeyBytes } from "./domain/sealing.ts";
import { completeSettings, type EngineSettingsInput } from "./domain/settings.ts";
import { friendly } from "./domain/ids.ts";
import { resumeIfFree } from "./operations/resume.ts";
import { Dispatcher } from "./operations/dispatcher.ts";
import { undoHandOut } from "./operations/suspend.ts";
import type { Core } from "./operations/core.ts";
import { operations } from "./operations.ts";
import { Database } from "./sql/database.ts";
import { armTimers } from "./sql/timers.ts";
import { migrate } from "./sql/migrate.ts";
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
  const settings = completeSettings(options.settings);
  const log = options.log ?? silentLog;
  const random = options.random ?? systemRandom;
  const clock = options.clock ?? systemClock;
  const db = new Database({ connectionString: options.connectionString, poolSize: settings.poolSize, log });
  const resumes = new Set<Promise<void>>();
  const runListeners = new Set<(runId: string) => void>();
  const wakes = new WakeSender(
    () => core,
    {
      ready: () => dispatcher.ready(),
      room: () => dispatcher.room(),
      timer: (dueAtMs) => loop.wakeAt(dueAtMs),
      resume: (runId) => resumeNow(core, resumes, runId),
      nextLookAtMs: () => loop.nextLookAtMs,
    },
    randomText(random, 12),
  );
  const core: Core = { db, clock, random, settings, log, wakes };
  const dispatcher = new Dispatcher(core, (worker, message) => undoHandOut(core, worker, message.run.id, message.snapshot.id));
  const loop = new TimerLoop(core, (timer) => fireTimer(core, timer));
  const listener = new Listener(options.connectionString, core, {
    runChanged: (runId) => runListeners.forEach((tell) => tell(friendly("run", runId))),
    woken: (message) => wakes.receive(message),
    connected: () => {
      dispatcher.ready();
      loop.wakeAt(clock.nowMs());
    },
  });
  let closing: Promise<void> | undefined;
  const close = async (): Promise<void> => {
    wakes.close();
    await dispatcher.close();
    await loop.close();
    await Promise.all(resumes);
    await listener.close();
    await db.close();
  };
  return {
    ...operations(core, dispatcher, { key: encryptionKeyBytes(settings.encryptionKey) }),
    onRunChanged(tell) {
      runListeners.add(tell);
      return () => void runListeners.delete(tell);
    },
    async start() {
      await migrate(options.connectionString);
      await armTimers(db, "sweep", ["all"], new Date(clock.nowMs() + settings.sweepEveryMs));
      loop.start();
      await listener.start();
    },
    close: () => (closing ??= close()),
  };
}

/** Resumes without waiting for the timer that stands for it; if this fails, that timer will. */
function resumeNow(core: Core, running: Set<Promise<void>>, runId: string): void {
  const work = resumeIfFree(core, runId)
    .catch((error: unknown) => core.log.warn({ err: error, run: runId }, "cannot resume a run at once; its timer will"))
    .finally(() => running.delete(work));
  running.add(work);
}
