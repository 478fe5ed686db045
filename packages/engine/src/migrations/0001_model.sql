-- The model of the run engine.
--
-- Ids are the bodies of friendly ids: the prefix is added at the edge. Times come in as parameters, never from now(),
-- so that a test can turn the clock. The hot tables have no foreign keys: each would lock a row that every run shares.

create table organizations (
  id text primary key,
  slug text not null unique,
  name text not null
);

create table projects (
  id text primary key,
  organization_id text not null references organizations (id),
  ref text not null unique,
  slug text not null,
  name text not null
);

create table environments (
  id text primary key,
  project_id text not null references projects (id),
  slug text not null,
  type text not null,
  api_key_hash bytea not null unique,
  api_key_cipher bytea not null,
  -- null: the server's default
  concurrency_limit integer,
  burst_factor double precision,
  paused boolean not null default false,
  current_deployment_id text,
  unique (project_id, slug)
);

-- Whose turn it is. Locked by every hand-out of the environment, which makes its counts of running runs exact.
create table environment_turns (
  environment_id text primary key,
  -- counts hand-outs over all environments: the lowest was served longest ago
  turn bigint not null default 0
) with (fillfactor = 50);

create table env_vars (
  environment_id text not null,
  name text not null,
  value_cipher bytea not null,
  primary key (environment_id, name)
);

create table worker_groups (
  id text primary key,
  name text not null unique,
  type text not null,
  token_hash bytea not null unique
);

create table worker_instances (
  worker_group_id text not null,
  name text not null,
  facts jsonb not null,
  seen_at timestamptz not null,
  primary key (worker_group_id, name)
);

create table deployments (
  id text primary key,
  environment_id text not null,
  worker_id text not null,
  short_code text not null,
  version text not null,
  status text not null,
  image_reference text,
  content_hash text not null,
  runtime text not null,
  sdk_version text not null,
  cli_version text not null,
  created_at timestamptz not null,
  error text,
  unique (environment_id, version)
);

create table tasks (
  deployment_id text not null,
  slug text not null,
  file_path text not null,
  export_name text,
  queue_name text not null,
  machine text,
  max_duration_seconds integer,
  retry json,
  ttl_seconds integer,
  trigger_source text,
  primary key (deployment_id, slug)
);

create table queues (
  id text primary key,
  environment_id text not null,
  name text not null,
  type text not null,
  -- as deployed; null: no limit of its own
  concurrency_limit integer,
  -- as set by hand; wins over the deployed one
  concurrency_override integer,
  paused boolean not null default false,
  unique (environment_id, name)
);

-- The concurrency key that was served last: keys of a queue are served in turn.
create table queue_turns (
  environment_id text not null,
  queue_name text not null,
  last_key text not null,
  primary key (environment_id, queue_name)
) with (fillfactor = 50);

-- Texts of tasks are json and not jsonb: jsonb refuses some of what a task may say (\u0000, lone surrogates).
create table runs (
  id text primary key,
  environment_id text not null,
  task text not null,
  queue_name text not null,
  -- false: the queue is its task's, whichever that is in the version it runs on
  queue_is_named boolean not null,
  -- '' when there is none
  concurrency_key text not null,
  status text not null,

  -- the latest snapshot, repeated here: the guard of every write
  execution_status text not null,
  snapshot_id text not null,
  snapshot_seq integer not null,
  snapshot_at timestamptz not null,
  snapshot_description text not null,
  snapshot_run_status text not null,
  heartbeat_at timestamptz,
  -- when the stall timer is armed for; it may be earlier than needed, never later
  stall_due_at timestamptz,
  -- snapshot under which the waitpoints are filed that the latest one brings
  completed_seq integer,
  batch_of_wait text,
  checkpoint_id text,

  attempt_number integer not null default 0,
  retry_ready boolean not null default false,
  max_attempts integer,
  max_duration_seconds integer,
  machine text,
  retry_config json,
  nack_count integer not null default 0,
  deployment_id text,
  version text,
  locked_to_version boolean not null default false,
  first_dequeued_at timestamptz,

  priority double precision not null default 0,
  -- place in the queue: the enqueue time put forward by the priority; kept over suspensions
  score timestamptz not null,
  ttl_seconds integer,
  has_waitpoint boolean not null default false,

  created_at timestamptz not null,
  updated_at timestamptz not null,
  queued_at timestamptz,
  started_at timestamptz,
  completed_at timestamptz,
  delay_until timestamptz,
  expired_at timestamptz,

  payload text,
  payload_type text not null,
  output text,
  output_type text,
  error json,
  metadata text,
  metadata_type text not null,
  tags text[] not null default '{}',
  is_test boolean not null default false,
  duration_ms double precision not null default 0,
  trace_context json not null default '{}',
  annotations json not null default '{}',

  parent_run_id text,
  root_run_id text,
  depth integer not null default 0,
  resumes_parent boolean not null default false,
  batch_id text,
  batch_index integer,
  idempotency_key text,
  request_key text
) with (fillfactor = 60);

-- Only columns that never change are indexed, so that the updates of a run stay inside its page (HOT).
create index runs_by_environment on runs (environment_id, id);
create index runs_by_parent on runs (parent_run_id) where parent_run_id is not null;
create index runs_by_batch on runs (batch_id) where batch_id is not null;
create unique index runs_by_request on runs (environment_id, request_key) where request_key is not null;

create table snapshots (
  run_id text not null,
  seq integer not null,
  id text not null,
  execution_status text not null,
  run_status text not null,
  description text not null,
  attempt_number integer not null,
  checkpoint_id text,
  batch_id text,
  previous_id text,
  completed_seq integer,
  worker_group_id text,
  instance_name text,
  runner_id text,
  is_valid boolean not null default true,
  created_at timestamptz not null,
  primary key (run_id, seq)
);

create table snapshot_waitpoints (
  run_id text not null,
  seq integer not null,
  position integer not null,
  waitpoint_id text not null,
  batch_id text,
  batch_index integer,
  primary key (run_id, seq, position)
);

create table checkpoints (
  id text primary key,
  run_id text not null,
  type text not null,
  location text not null,
  image_ref text,
  reason text,
  created_at timestamptz not null
);
create index checkpoints_by_location on checkpoints (location);

-- Runs that may be handed out once `score` has passed.
create table ready (
  run_id text primary key,
  environment_id text not null,
  queue_name text not null,
  concurrency_key text not null,
  score timestamptz not null
);
create index ready_by_lane on ready (environment_id, queue_name, concurrency_key, score, run_id);
create index ready_by_score on ready (score);

-- Runs that hold concurrency: from the hand-out to a suspension, an end or a return to the queue.
create table slots (
  run_id text primary key,
  environment_id text not null,
  queue_name text not null,
  concurrency_key text not null
);
create index slots_by_lane on slots (environment_id, queue_name, concurrency_key);

-- Runs whose task or queue no deployed version has yet.
create table parked (
  run_id text primary key,
  environment_id text not null,
  parked_at timestamptz not null
);
create index parked_by_environment on parked (environment_id, run_id);

create table waitpoints (
  id text primary key,
  environment_id text not null,
  type text not null,
  status text not null,
  created_at timestamptz not null,
  completed_at timestamptz,
  -- DATETIME: when it completes. MANUAL: when it times out
  completes_after timestamptz,
  by_run_id text,
  by_batch_id text,
  idempotency_key text,
  idempotency_key_expires_at timestamptz,
  inactive_idempotency_key text,
  output text,
  output_type text,
  output_is_error boolean not null default false,
  timed_out boolean not null default false,
  tags text[] not null default '{}'
);
create unique index waitpoints_by_key on waitpoints (environment_id, idempotency_key) where idempotency_key is not null;
create unique index waitpoints_by_run on waitpoints (by_run_id) where by_run_id is not null;
create unique index waitpoints_by_batch on waitpoints (by_batch_id) where by_batch_id is not null;
create index waitpoints_tokens on waitpoints (environment_id, id) where type = 'MANUAL';

-- A run waits for a waitpoint. batch_index is -1 outside batches.
create table edges (
  run_id text not null,
  waitpoint_id text not null,
  batch_id text,
  batch_index integer not null default -1,
  created_at timestamptz not null,
  primary key (run_id, waitpoint_id, batch_index)
);
create index edges_by_waitpoint on edges (waitpoint_id);

create table batches (
  id text primary key,
  environment_id text not null,
  status text not null,
  run_count integer not null,
  parent_run_id text,
  resumes_parent boolean not null,
  waitpoint_id text,
  idempotency_key text,
  sealed_at timestamptz,
  created_at timestamptz not null,
  updated_at timestamptz not null,
  completed_at timestamptz
);

create table batch_items (
  batch_id text not null,
  index integer not null,
  run_id text not null,
  error text,
  error_code text,
  primary key (batch_id, index)
);

-- kind: 'run/<task>' for runs, 'batch' for batches
create table idempotency_keys (
  environment_id text not null,
  scope text not null,
  key text not null,
  subject_id text not null,
  expires_at timestamptz,
  primary key (environment_id, scope, key)
);

create table timers (
  kind text not null,
  subject text not null,
  due_at timestamptz not null,
  tries integer not null default 0,
  primary key (kind, subject)
) with (fillfactor = 70);
create index timers_by_due on timers (due_at);

-- What nodes told about a run.
create table run_events (
  run_id text not null,
  seq bigint generated always as identity,
  at timestamptz not null,
  name text not null,
  duration_ms double precision,
  reason text,
  runner_id text,
  snapshot_id text,
  properties json,
  primary key (run_id, seq)
);

-- Their rows come and go all the time: dead ones are cleared away by their number, not by their share.
alter table ready set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
alter table slots set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
alter table edges set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
alter table timers set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
