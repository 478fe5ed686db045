/** Variables of the user that reach the parts: their own settings and what any program needs. Everything else stays outside. */
const PASSED = [
  /^TORPOR_/,
  /^COMPUTE_/,
  /^RUNNER_/,
  /^TRIGGER_(WORKER|WORKLOAD|DEQUEUE|WARM_START)_/,
  /^OTEL_/,
  /^WORKLOAD_TOKEN_/,
  /^(PATH|HOME|LANG|TZ|TMPDIR|DEBUG|NODE_EXTRA_CA_CERTS|NODE_OPTIONS|SSL_CERT_(FILE|DIR))$/,
];

/** The part of an environment that a plane's parts may see. */
export function partEnvironment(env: NodeJS.ProcessEnv): Record<string, string> {
  const passed = Object.entries(env).filter(([name, value]) => value !== undefined && PASSED.some((pattern) => pattern.test(name)));
  return Object.fromEntries(passed) as Record<string, string>;
}
