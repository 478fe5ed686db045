import type { Secret } from "@torpor/kernel";
import type { CompletionSettings } from "./completion.ts";
import type { GiveBackSettings } from "./queueing.ts";
import type { RecheckSettings, StallTimes } from "./stalls.ts";

/** Everything of the engine that can be set. Times are milliseconds. */
export interface EngineSettings {
  readonly stalls: StallTimes;
  readonly suspendedRecheck: RecheckSettings;
  readonly completion: CompletionSettings;
  readonly giveBack: GiveBackSettings;
  /** An attempt that fell silent goes back to the queue after this. */
  readonly stallRetryDelayMs: number;
  /** A batch that was not sealed by then is aborted. */
  readonly batchSealLimitMs: number;
  /** The end of a batch is looked for this long after a run of it ended, so that many ends make one look. */
  readonly batchCheckDelayMs: number;
  readonly environmentConcurrencyLimit: number;
  readonly environmentBurstFactor: number;
  readonly idempotencyKeyTtlMs: number;
  /** Time to live of runs in development environments that name none (seconds). */
  readonly developmentTtlSeconds: number;
  /**
   * A node of which nothing was heard for so long leaves the runs that sleep on it to others (ms): four of a supervisor's heartbeats
   * (30 s). Longer than a restart takes, because what others cannot restore starts over.
   */
  readonly nodeLostAfterMs: number;
  /** Heartbeat interval that runs are told (ms); a third or less of the executing stall time. */
  readonly heartbeatIntervalMs: number;
  /** Lines that nodes may add to one run. */
  readonly timelineLinesPerRun: number;
  /** Runs waiting for a version that are queued in one go. */
  readonly promoteBatchSize: number;
  readonly poolSize: number;
  /** The due-time loop looks at least this often, should a wake-up be lost. */
  readonly maxTimerSleepMs: number;
  /** How often leaks are looked for. */
  readonly sweepEveryMs: number;
  /**
   * A sleeping run whose end is known is handed out this long before it, and continued at the end itself. As long as finding, handing
   * out and taking a run takes on a busy machine: sooner would only occupy a place in its queue.
   */
  readonly handOutAheadMs: number;
  /** A process that claimed a timer has this long to see it through; then another takes it. */
  readonly timerLeaseMs: number;
  /** Encrypts API keys and environment variables at rest: 32 bytes as 64 hex digits or base64. */
  readonly encryptionKey: Secret;
}

/** Defaults are those of Trigger.dev's platform, where it has them. */
export const DEFAULT_SETTINGS: Omit<EngineSettings, "encryptionKey"> = {
  stalls: {
    pendingExecutingMs: 60_000,
    executingMs: 300_000,
    executingWithWaitpointsMs: 300_000,
    suspendedMs: 600_000,
    pendingCancelMs: 60_000,
  },
  suspendedRecheck: { baseMs: 60_000, maxMs: 6 * 3_600_000, maxTimes: 12 },
  completion: { retryImmediatelyBelowMs: 30_000, maxAttempts: 250 },
  giveBack: { budget: 12, baseMs: 1000, factor: 2, maxMs: 3_600_000 },
  stallRetryDelayMs: 250,
  batchSealLimitMs: 30 * 60_000,
  batchCheckDelayMs: 200,
  environmentConcurrencyLimit: 100,
  environmentBurstFactor: 2,
  idempotencyKeyTtlMs: 30 * 24 * 3_600_000,
  developmentTtlSeconds: 600,
  nodeLostAfterMs: 120_000,
  heartbeatIntervalMs: 20_000,
  timelineLinesPerRun: 2000,
  promoteBatchSize: 100,
  poolSize: 16,
  maxTimerSleepMs: 10_000,
  sweepEveryMs: 60_000,
  handOutAheadMs: 150,
  timerLeaseMs: 5_000,
};

/** What a caller may leave out is filled with the defaults, one level deep. */
export type EngineSettingsInput = {
  readonly [Key in keyof Omit<EngineSettings, "encryptionKey">]?: EngineSettings[Key] extends object
    ? Partial<EngineSettings[Key]>
    : EngineSettings[Key];
} & {
  readonly encryptionKey: Secret;
};

export function completeSettings(input: EngineSettingsInput): EngineSettings {
  const d = DEFAULT_SETTINGS;
  return {
    ...d,
    ...input,
    stalls: { ...d.stalls, ...input.stalls },
    suspendedRecheck: { ...d.suspendedRecheck, ...input.suspendedRecheck },
    completion: { ...d.completion, ...input.completion },
    giveBack: { ...d.giveBack, ...input.giveBack },
  };
}
