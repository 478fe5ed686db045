-- What the platform keeps for itself, beside the engine's model. Losing it loses no run.

-- One-time public tokens that were used, until they expire.
create table platform_used_tokens (
  id text primary key,
  expires_at timestamptz not null,
  -- of the request that used it, which may be repeated
  request_key text
);

-- Payloads and outputs that are too large for a request.
create table platform_packets (
  environment_id text not null,
  key text not null,
  content_type text not null,
  data bytea not null,
  created_at timestamptz not null,
  primary key (environment_id, key)
);

-- How much was kept of a run, and when something came last: bounds each run, and finds what is old.
create table telemetry_runs (
  run_id text primary key,
  span_count integer not null default 0,
  log_count integer not null default 0,
  last_at timestamptz not null
);
create index telemetry_runs_by_age on telemetry_runs (last_at);

create table telemetry_spans (
  run_id text not null,
  span_id text not null,
  parent_id text,
  trace_id text not null,
  name text not null,
  started_at timestamptz not null,
  duration_ms double precision not null,
  is_error boolean not null,
  -- told at its start, not ended yet
  is_partial boolean not null,
  attempt_number integer,
  properties jsonb not null,
  events jsonb not null,
  primary key (run_id, span_id)
);

create table telemetry_logs (
  id bigint generated always as identity,
  run_id text not null,
  at timestamptz not null,
  level text not null,
  message text not null,
  span_id text,
  attempt_number integer,
  properties jsonb not null,
  primary key (run_id, id)
);
