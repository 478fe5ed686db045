/** Whose fault an error is, and whether the same call may work later. */
export interface ErrorTraits {
  readonly fault: "caller" | "ours" | "world";
  readonly retry: "never" | "later";
}

/** Every error that a part tells another, or its user. A new one does not compile until the http package gives it a status. */
export const ERRORS = {
  body_malformed: { fault: "caller", retry: "never" },
  body_too_large: { fault: "caller", retry: "never" },
  request_invalid: { fault: "caller", retry: "never" },
  request_unprocessable: { fault: "caller", retry: "never" },
  unauthenticated: { fault: "caller", retry: "never" },
  forbidden: { fault: "caller", retry: "never" },
  not_found: { fault: "caller", retry: "never" },
  length_required: { fault: "caller", retry: "never" },
  run_finished: { fault: "caller", retry: "never" },
  snapshot_stale: { fault: "caller", retry: "never" },
  snapshot_mismatch: { fault: "caller", retry: "never" },
  name_taken: { fault: "caller", retry: "never" },
  sandbox_frozen: { fault: "caller", retry: "never" },
  memory_image_gone: { fault: "caller", retry: "never" },
  memory_image_refused: { fault: "caller", retry: "never" },
  rate_limited: { fault: "caller", retry: "later" },
  no_capacity: { fault: "world", retry: "later" },
  memory_quota_exceeded: { fault: "world", retry: "later" },
  sandbox_not_started: { fault: "world", retry: "later" },
  sandbox_maybe_started: { fault: "world", retry: "never" },
  upstream_unreachable: { fault: "world", retry: "later" },
  not_supported: { fault: "caller", retry: "never" },
  run_illegal_transition: { fault: "ours", retry: "never" },
  internal: { fault: "ours", retry: "later" },
} as const satisfies Record<string, ErrorTraits>;

export type ErrorCode = keyof typeof ERRORS;

export interface TorporErrorOptions extends ErrorOptions {
  /** The field that is wrong, as the caller wrote it: `options.delay`, `items[3].task`. */
  readonly param?: string;
}

/** The one error class that crosses a part's edge. Messages read "Cannot …: …", name the field and the value, and say what to do. */
export class TorporError extends Error {
  override readonly name = "TorporError";
  readonly code: ErrorCode;
  readonly param: string | undefined;

  constructor(code: ErrorCode, message: string, options?: TorporErrorOptions) {
    super(message, options);
    this.code = code;
    this.param = options?.param;
  }
}
