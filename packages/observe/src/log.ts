import { pino, stdSerializers, type DestinationStream } from "pino";

export type LogLevel = "trace" | "debug" | "info" | "warn" | "error" | "silent";

/** A log: fields first, then a sentence. Secrets print as `[secret]` wherever they stand. */
export interface Log {
  debug(fields: Readonly<Record<string, unknown>>, message: string): void;
  info(fields: Readonly<Record<string, unknown>>, message: string): void;
  warn(fields: Readonly<Record<string, unknown>>, message: string): void;
  error(fields: Readonly<Record<string, unknown>>, message: string): void;
  /** The same log with fields that stand on every line. */
  with(fields: Readonly<Record<string, unknown>>): Log;
}

export interface LogOptions {
  readonly level: LogLevel;
  /** Name of the part that writes. */
  readonly part: string;
  /** Where lines go, as JSON; standard error by default, because standard output belongs to answers. */
  readonly destination?: DestinationStream;
}

/** JSON lines, one per event. */
export function createLog(options: LogOptions): Log {
  const destination = options.destination ?? pino.destination({ fd: 2, sync: true });
  const base = { part: options.part };
  return wrap(
    pino(
      { level: options.level, base, serializers: { err: stdSerializers.errWithCause }, timestamp: pino.stdTimeFunctions.isoTime },
      destination,
    ),
  );
}

/** A log that says nothing, for tests that look elsewhere. */
export const silentLog: Log = { debug() {}, info() {}, warn() {}, error() {}, with: () => silentLog };

function wrap(logger: ReturnType<typeof pino>): Log {
  return {
    debug: (fields, message) => logger.debug(fields, message),
    info: (fields, message) => logger.info(fields, message),
    warn: (fields, message) => logger.warn(fields, message),
    error: (fields, message) => logger.error(fields, message),
    with: (fields) => wrap(logger.child({ ...fields })),
  };
}
