import type { ErrorCode } from "@torpor/contracts";

/** The status that each error leaves with. A new code does not compile until it has one. */
export const HTTP_STATUS = {
  body_malformed: 400,
  body_too_large: 413,
  request_invalid: 400,
  request_unprocessable: 422,
  unauthenticated: 401,
  forbidden: 403,
  not_found: 404,
  length_required: 411,
  run_finished: 400,
  snapshot_stale: 409,
  snapshot_mismatch: 400,
  name_taken: 409,
  sandbox_frozen: 409,
  memory_image_gone: 404,
  memory_image_refused: 422,
  rate_limited: 429,
  no_capacity: 503,
  memory_quota_exceeded: 507,
  sandbox_not_started: 500,
  sandbox_maybe_started: 502,
  upstream_unreachable: 503,
  not_supported: 501,
  run_illegal_transition: 500,
  internal: 500,
} as const satisfies Record<ErrorCode, number>;
