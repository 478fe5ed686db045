-- A memory image lies on one node, and so does what can be restored from it.
--
--   N1  A queued run whose checkpoint names a node is handed to requests of that node alone while the node is heard of.
--   N2  Once nothing has been heard of the node for p_lost, anybody may have the run.
--   N3  A run that waits for its node holds nobody up: keys, places and limits are looked up among those that the asking
--       nodes may have, by an index that begins with the node.

alter table checkpoints add column node text;

alter table worker_instances add column node text generated always as (worker_group_id || '/' || name) stored;
create unique index worker_instances_by_node on worker_instances (node);

-- '': any node
alter table ready add column node text not null default '';
drop index ready_by_lane;
create index ready_by_lane on ready (environment_id, queue_name, node, concurrency_key, score, run_id);
create index ready_by_node on ready (node) where node <> '';

drop function pick_ready(timestamptz, integer, integer, double precision);

-- Chooses what is handed out next, as before, among what the asking nodes may have. p_nodes are the nodes that ask, p_asking
-- how many of the wanted each of them asks for. `node` is the one that must have the run, null where anybody may; `look_at`
-- is when the next node counts as lost for which a run waits.
--
--   D1  The environment's row in environment_turns is locked until the transaction ends: one hand-out at a time counts
--       and takes, so no limit is ever exceeded. Giving a slot back needs no lock: it only makes room.
--   D2  Each statement here sees what was committed before it began (read committed), so the counts are taken after the lock.
--   D3  Environments are served in turn, least recently served first. Inside one, the oldest score goes first;
--       inside a queue its concurrency keys go in turn, each with the queue's limit of its own.
--   D4  A full or paused queue, and a full key, is stepped over; it holds nobody else up.
create function pick_ready(
  p_now timestamptz, p_wanted integer, p_default_limit integer, p_default_burst double precision,
  p_nodes text[], p_asking integer[], p_lost interval)
returns table (run_id text, node text, blocked boolean, look_at timestamptz)
language plpgsql as $$
declare
  v_environments text[] := '{}';
  v_environment text := '';
  v_queue text;
  v_key text;
  v_last_key text;
  v_wrapped boolean;
  v_limit integer;
  v_room integer;
  v_lane_room integer;
  v_found integer;
  v_lanes integer := 0;
  v_queues integer := 0;
  v_round integer;
  v_paused boolean;
  v_runs text[];
  v_scores timestamptz[];
  v_homes text[];
  v_blocked boolean := false;
  v_node text := '';
  v_seen timestamptz;
  v_look_at timestamptz;
  -- whose runs may be handed out, and to how many of the requests; null: to any
  v_nodes text[] := '{""}';
  v_caps integer[] := '{null}';
  -- one element per candidate
  c_environment text[] := '{}';
  c_queue text[] := '{}';
  c_key text[] := '{}';
  c_lane integer[] := '{}';
  c_round integer[] := '{}';
  c_run text[] := '{}';
  c_score timestamptz[] := '{}';
  c_node text[] := '{}';
  e_environment text[] := '{}';
  e_room integer[] := '{}';
begin
  loop
    select r.node into v_node from ready r where r.node <> '' and r.node > v_node order by r.node limit 1;
    exit when not found;
    if v_node = any (p_nodes) then
      v_nodes := v_nodes || v_node;
      v_caps := v_caps || p_asking[array_position(p_nodes, v_node)];
      continue;
    end if;
    select w.seen_at + p_lost into v_seen from worker_instances w where w.node = v_node;
    if v_seen is null or v_seen <= p_now then
      v_nodes := v_nodes || v_node;
      v_caps := v_caps || null::integer;
    else
      v_look_at := least(v_look_at, v_seen);
    end if;
  end loop;

  loop
    select r.environment_id into v_environment from ready r where r.environment_id > v_environment order by r.environment_id limit 1;
    exit when not found;
    v_environments := v_environments || v_environment;
  end loop;
  if cardinality(v_environments) = 0 then return; end if;

  perform 1 from environment_turns t where t.environment_id = any (v_environments) order by t.environment_id for update;

  foreach v_environment in array v_environments loop
    select floor(coalesce(e.concurrency_limit, p_default_limit) * coalesce(e.burst_factor, p_default_burst))
             - (select count(*) from slots s where s.environment_id = v_environment), e.paused
      into v_room, v_paused from environments e where e.id = v_environment;
    if v_room is null or v_paused or v_room <= 0 then
      v_blocked := true;
      continue;
    end if;
    e_environment := e_environment || v_environment;
    e_room := e_room || v_room;

    v_queue := '';
    loop
      select r.queue_name into v_queue from ready r where r.environment_id = v_environment and r.queue_name > v_queue order by r.queue_name limit 1;
      exit when not found;
      select q.paused, coalesce(q.concurrency_override, q.concurrency_limit), t.last_key into v_paused, v_limit, v_last_key
        from (values (v_queue)) n (name) left join queues q on q.environment_id = v_environment and q.name = n.name
        left join queue_turns t on t.environment_id = v_environment and t.queue_name = n.name;
      v_queues := v_queues + 1;
      if coalesce(v_paused, false) then
        v_blocked := true;
        continue;
      end if;

      -- keys in turn: from the one after the last served, around to it again
      v_key := v_last_key;
      v_wrapped := v_key is null;
      v_lanes := 0;
      v_found := 0;
      loop
        if v_key is null then
          select min(k.concurrency_key) into v_key from unnest(v_nodes) as n (node), lateral (
            select r.concurrency_key from ready r where r.environment_id = v_environment and r.queue_name = v_queue and r.node = n.node
              order by r.concurrency_key limit 1) k;
        else
          select min(k.concurrency_key) into v_key from unnest(v_nodes) as n (node), lateral (
            select r.concurrency_key from ready r where r.environment_id = v_environment and r.queue_name = v_queue and r.node = n.node
              and r.concurrency_key > v_key order by r.concurrency_key limit 1) k;
        end if;
        if v_key is null then
          exit when v_wrapped;
          v_wrapped := true;
          v_key := null;
          continue;
        end if;
        exit when v_wrapped and v_key > v_last_key;
        v_lanes := v_lanes + 1;

        if v_limit is null then
          v_lane_room := v_room;
        else
          select least(v_room, v_limit - count(*)) into v_lane_room from slots s
            where s.environment_id = v_environment and s.queue_name = v_queue and s.concurrency_key = v_key;
        end if;
        if v_lane_room <= 0 then
          v_blocked := true;
        else
          select array_agg(o.run_id order by o.score, o.run_id), array_agg(o.score order by o.score, o.run_id),
              array_agg(o.node order by o.score, o.run_id) into v_runs, v_scores, v_homes from (
            select q.run_id, q.score, case when n.cap is null then null else n.node end as node
              from unnest(v_nodes, v_caps) as n (node, cap), lateral (
                select r.run_id, r.score from ready r where r.environment_id = v_environment and r.queue_name = v_queue
                  and r.node = n.node and r.concurrency_key = v_key and r.score <= p_now
                  order by r.score, r.run_id limit least(v_lane_room + 1, p_wanted + 1, n.cap)) q
              order by q.score, q.run_id limit least(v_lane_room, p_wanted) + 1) o;
          if v_runs is not null then
            v_found := v_found + 1;
            for v_round in 1 .. cardinality(v_runs) loop
              if v_round > least(v_lane_room, p_wanted) then
                v_blocked := true;
                exit;
              end if;
              c_environment := c_environment || v_environment;
              c_queue := c_queue || v_queue;
              c_key := c_key || v_key;
              c_lane := c_lane || v_lanes;
              c_round := c_round || v_round;
              c_run := c_run || v_runs[v_round];
              c_score := c_score || v_scores[v_round];
              c_node := c_node || v_homes[v_round];
            end loop;
          end if;
        end if;
        -- every lane found can serve one of the wanted; a lane that is full or not yet due costs a look, so looks are bounded
        if v_found >= p_wanted or v_lanes >= 1000 then
          v_blocked := true;
          exit;
        end if;
      end loop;
    end loop;
  end loop;

  if cardinality(c_run) = 0 then
    if v_blocked or v_look_at is not null then return query select null::text, null::text, v_blocked, v_look_at; end if;
    return;
  end if;

  -- one lane alone: its own order is the order
  if cardinality(v_environments) = 1 and v_queues = 1 and v_lanes = 1 then
    v_found := least(p_wanted, e_room[1], cardinality(c_run));
    if v_last_key is distinct from c_key[1] then
      insert into queue_turns as t (environment_id, queue_name, last_key) values (c_environment[1], c_queue[1], c_key[1])
        on conflict (environment_id, queue_name) do update set last_key = excluded.last_key;
    end if;
    return query select unnest(c_run[1:v_found]), unnest(c_node[1:v_found]), v_blocked or cardinality(c_run) > v_found, v_look_at;
    return;
  end if;

  return query
    with found as (
      -- of those that one node must have, the oldest go first
      select *, row_number() over (partition by f.node order by f.score, f.run_id) as in_node
        from unnest(c_environment, c_queue, c_key, c_lane, c_round, c_run, c_score, c_node)
          as f (environment_id, queue_name, concurrency_key, lane, round, run_id, score, node)
    ), candidates as (
      select f.* from found f where f.node is null or f.in_node <= p_asking[array_position(p_nodes, f.node)]
    ), in_queue as (
      -- a queue's own order is by turns; among queues it counts as old as the oldest that it has handed out so far
      select c.*, row_number() over w as place, max(c.score) over w as age
        from candidates c window w as (partition by c.environment_id, c.queue_name order by c.round, c.lane, c.score, c.run_id)
    ), in_environment as (
      select i.*, row_number() over (partition by i.environment_id order by i.age, i.queue_name, i.place) as rank from in_queue i
    ), chosen as (
      select i.* from in_environment i
        join unnest(e_environment, e_room) as e (environment_id, room) on e.environment_id = i.environment_id and i.rank <= e.room
        join environment_turns t on t.environment_id = i.environment_id
        order by i.rank, t.turn, i.environment_id
        limit p_wanted
    ), env_turn as (
      update environment_turns t set turn = (select max(m.turn) + 1 from environment_turns m)
        from (select distinct k.environment_id from chosen k) k where t.environment_id = k.environment_id
    ), key_turn as (
      insert into queue_turns as t (environment_id, queue_name, last_key)
        select distinct on (k.environment_id, k.queue_name) k.environment_id, k.queue_name, k.concurrency_key from chosen k
         order by k.environment_id, k.queue_name, k.place desc
      on conflict (environment_id, queue_name) do update set last_key = excluded.last_key where t.last_key <> excluded.last_key
    )
    select k.run_id, k.node, v_blocked or (select count(*) from candidates) > (select count(*) from chosen), v_look_at from chosen k;
  if not found and (v_blocked or v_look_at is not null) then
    return query select null::text, null::text, v_blocked, v_look_at;
  end if;
end
$$;
