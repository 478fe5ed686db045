-- Chooses what is handed out next. It lives beside the data because it walks index after index and stops early; it
-- writes nothing but whose turn is next.
--
--   D1  The environment's row in environment_turns is locked until the transaction ends: one hand-out at a time counts
--       and takes, so no limit is ever exceeded. Giving a slot back needs no lock: it only makes room.
--   D2  Each statement here sees what was committed before it began (read committed), so the counts are taken after the lock.
--   D3  Environments are served in turn, least recently served first. Inside one, the oldest score goes first;
--       inside a queue its concurrency keys go in turn, each with the queue's limit of its own.
--   D4  A full or paused queue, and a full key, is stepped over; it holds nobody else up.
create function pick_ready(p_now timestamptz, p_wanted integer, p_default_limit integer, p_default_burst double precision)
returns table (run_id text, blocked boolean)
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
  v_blocked boolean := false;
  -- one element per candidate
  c_environment text[] := '{}';
  c_queue text[] := '{}';
  c_key text[] := '{}';
  c_lane integer[] := '{}';
  c_round integer[] := '{}';
  c_run text[] := '{}';
  c_score timestamptz[] := '{}';
  e_environment text[] := '{}';
  e_room integer[] := '{}';
begin
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
          select r.concurrency_key into v_key from ready r where r.environment_id = v_environment and r.queue_name = v_queue
            order by r.concurrency_key limit 1;
        else
          select r.concurrency_key into v_key from ready r where r.environment_id = v_environment and r.queue_name = v_queue
            and r.concurrency_key > v_key order by r.concurrency_key limit 1;
        end if;
        if not found then
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
          select array_agg(o.run_id order by o.score, o.run_id), array_agg(o.score order by o.score, o.run_id) into v_runs, v_scores from (
            select r.run_id, r.score from ready r
              where r.environment_id = v_environment and r.queue_name = v_queue and r.concurrency_key = v_key and r.score <= p_now
              order by r.score, r.run_id limit least(v_lane_room, p_wanted) + 1) o;
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
    if v_blocked then return query select null::text, true; end if;
    return;
  end if;

  -- one lane alone: its own order is the order
  if cardinality(v_environments) = 1 and v_queues = 1 and v_lanes = 1 then
    v_found := least(p_wanted, e_room[1], cardinality(c_run));
    if v_last_key is distinct from c_key[1] then
      insert into queue_turns as t (environment_id, queue_name, last_key) values (c_environment[1], c_queue[1], c_key[1])
        on conflict (environment_id, queue_name) do update set last_key = excluded.last_key;
    end if;
    return query select unnest(c_run[1:v_found]), v_blocked or cardinality(c_run) > v_found;
    return;
  end if;

  return query
    with candidates as (
      select * from unnest(c_environment, c_queue, c_key, c_lane, c_round, c_run, c_score)
        as c (environment_id, queue_name, concurrency_key, lane, round, run_id, score)
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
    select k.run_id, v_blocked or (select count(*) from candidates) > (select count(*) from chosen) from chosen k;
  if not found and v_blocked then
    return query select null::text, true;
  end if;
end
$$;
