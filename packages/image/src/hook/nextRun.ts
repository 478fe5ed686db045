// In a worker that is forked before its run is known: it starts with the variables of the run before, and is told those of its own later.

/** Set by the runner itself for every worker, not for a run. */
const RUNNERS_OWN = new Set([
  "HEARTBEAT_INTERVAL_MS",
  "NODE_ENV",
  "NODE_EXTRA_CA_CERTS",
  "NODE_OPTIONS",
  "OTEL_EXPORTER_OTLP_ENDPOINT",
  "OTEL_IMPORT_HOOK_INCLUDES",
  "PATH",
  "SSL_CERT_DIR",
  "SSL_CERT_FILE",
  "TRIGGERDOTDEV",
  "TRIGGER_MACHINE_ID",
  "TRIGGER_OTEL_EXPORTER_OTLP_ENDPOINT",
  "TRIGGER_PROCESS_FORK_START_TIME",
  "TRIGGER_WARM_START",
  "UV_USE_IO_URING",
]);

/**
 * Removes, when the run begins, what only the run before was given. The runner then sets what this one is given. Nobody listens for
 * messages here before the runner does: Node keeps them for the first listener, and that must be the runner's.
 */
export function forgetFormerRun(): void {
  const inherited = Object.keys(process.env).filter((name) => !RUNNERS_OWN.has(name));
  const emit = process.emit.bind(process) as (event: string, ...args: unknown[]) => boolean;
  const watched = (event: string, ...args: unknown[]): boolean => {
    const env = event === "message" ? environmentIn(args[0]) : undefined;
    if (env !== undefined) {
      Reflect.deleteProperty(process, "emit"); // from here on it is Node's own again
      for (const name of inherited) if (!Object.hasOwn(env, name)) Reflect.deleteProperty(process.env, name);
    }
    return emit(event, ...args);
  };
  Object.defineProperty(process, "emit", { value: watched, writable: true, configurable: true, enumerable: false });
}

/** The environment that a message brings; undefined when it is about something else. */
function environmentIn(packet: unknown): object | undefined {
  const { message } = (packet ?? {}) as { message?: { type?: unknown; payload?: { env?: unknown } } };
  const env = message?.type === "EXECUTE_TASK_RUN" ? message.payload?.env : undefined;
  return typeof env === "object" && env !== null ? env : undefined;
}
