import { sql, type Queryable } from "./database.ts";

// Everything that is to happen at a time. A timer is deleted in the transaction that does what it stands for.

export type TimerKind =
  | "stall"
  | "delay"
  | "ttl"
  /** A DATETIME waitpoint or the time-out of a token; the subject is the waitpoint. */
  | "waitpoint"
  /** See whether a run that waited can go on. */
  | "resume"
  | "cancel"
  | "batchSeal"
  | "batchCheck"
  /** Look for what should not be. One row for all processes. */
  | "sweep"
  /** Queue what waited for a version; the subject is the environment. */
  | "promote";

export interface DueTimer {
  readonly kind: TimerKind;
  readonly subject: string;
  /** As it stands after the claim: whoever sees it otherwise has lost it. */
  readonly due_at: Date;
  readonly tries: number;
  /** When it was meant to fire. */
  readonly was_due_at: Date;
}

const CLAIM = sql(
  "timers_claim",
  `with due as (select kind, subject, due_at from timers where due_at <= $1 order by due_at limit $3 for update skip locked)
   update timers t set due_at = $2 from due where t.kind = due.kind and t.subject = due.subject
   returning t.kind, t.subject, t.due_at, t.tries, due.due_at as was_due_at`,
);

/** Takes up to `limit` due timers for this process until `leaseEnd`; other processes take others. */
export async function claimDue(db: Queryable, now: Date, leaseEnd: Date, limit: number): Promise<DueTimer[]> {
  return db.query<DueTimer>(CLAIM, [now, leaseEnd, limit]);
}

const NEXT = sql("timers_next", "select min(due_at) as at from timers");

export async function nextDue(db: Queryable): Promise<Date | null> {
  return (await db.query<{ at: Date | null }>(NEXT, []))[0]?.at ?? null;
}

const TAKE = sql("timer_take", "delete from timers where kind = $1 and subject = $2 and due_at = $3 returning 1 as hit");

/** Deletes a claimed timer; false when it was moved or done since. Take the lock of its subject first. */
export async function takeClaimed(db: Queryable, timer: DueTimer): Promise<boolean> {
  return (await db.query(TAKE, [timer.kind, timer.subject, timer.due_at])).length === 1;
}

const ARM = sql(
  "timers_arm",
  `insert into timers (kind, subject, due_at) select $1, s, $3 from unnest($2::text[]) s order by s
   on conflict (kind, subject) do update set due_at = least(timers.due_at, excluded.due_at)`,
);

/** Sets timers of one kind, never later than they were. The rows stay locked until the commit, in the order of their subjects. */
export async function armTimers(db: Queryable, kind: TimerKind, subjects: readonly string[], dueAt: Date): Promise<void> {
  if (subjects.length > 0) await db.query(ARM, [kind, subjects, dueAt]);
}

const MOVE = sql(
  "timer_move",
  "insert into timers (kind, subject, due_at, tries) values ($1, $2, $3, $4) on conflict (kind, subject) do update set due_at = excluded.due_at, tries = excluded.tries",
);

/** Sets a timer to exactly that time. */
export async function moveTimer(db: Queryable, kind: TimerKind, subject: string, dueAt: Date, tries = 0): Promise<void> {
  await db.query(MOVE, [kind, subject, dueAt, tries]);
}

const DROP = sql("timer_drop", "delete from timers where kind = $1 and subject = $2");

export async function dropTimer(db: Queryable, kind: TimerKind, subject: string): Promise<void> {
  await db.query(DROP, [kind, subject]);
}
