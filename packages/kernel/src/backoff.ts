export interface BackoffOptions {
  readonly baseMs: number;
  readonly factor: number;
  readonly maxMs: number;
  /** Uniform in [0, 1). */
  readonly random: () => number;
}

/** Wait before the given attempt (1-based): the nominal step, give or take half. */
export function backoffMs(attempt: number, options: BackoffOptions): number {
  const nominalMs = Math.min(options.baseMs * options.factor ** (attempt - 1), options.maxMs);
  return nominalMs * (0.5 + options.random());
}
