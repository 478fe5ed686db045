// What the processes of a template say to each other and to the host.

/** In the environment of a template, and in no clone's: `controller` for the sandbox's first process, `worker` for the one it forks. */
export const ROLE_VARIABLE = "TORPOR_TEMPLATE";
/** Its value in a worker that takes over from the worker of the run before: see `nextRun.ts`. */
export const NEXT_RUN_ROLE = "next";
/**
 * In what the host says of a clone that is made before it is known who it will be: where it asks for its environment, as the origin
 * of its metadata address.
 */
export const SPARE_VARIABLE = "TORPOR_SPARE";
/** What a worker imports ahead, as JSON: see `Ahead`. */
export const IMPORTS_VARIABLE = "TORPOR_TEMPLATE_IMPORTS";
/** The line on standard output after which the sandbox may be saved. */
export const READY_LINE = "torpor: the template is ready";
/** Begins the line that says why a sandbox cannot become a template. */
export const REFUSED_LINE = "torpor: no template:";

/** What a process imports before the clones part. */
export interface Ahead {
  readonly files: readonly string[];
  /** URLs that are loaded on the way. */
  readonly loads: readonly string[];
  /** Nothing else is imported by the entry point: it can be loaded ahead too. */
  readonly isAll: boolean;
}

/** From a worker to the process that forked it. */
export interface WorkerReady {
  readonly torpor: "ready";
}

/** To a worker that has been cloned, and is not needed yet. */
export interface WorkerCloned {
  readonly torpor: "cloned";
}

/** To a worker: become the one that the runner has just forked with this environment. */
export interface WorkerGo {
  readonly torpor: "go";
  readonly env: Readonly<Record<string, string>>;
}

/** What came of importing one file in a process that is thrown away. */
export interface Finding {
  readonly file: string;
  /** URLs of everything that was loaded for it. */
  readonly loads: readonly string[];
  /** Variables that it read, with what it saw: null when unset. */
  readonly reads: Readonly<Record<string, string | null>>;
  /** Why it must not be imported before the clones part; null when it may. */
  readonly unsafe: string | null;
}
