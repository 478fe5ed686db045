import { sql, type Queryable } from "./database.ts";
import { WAITPOINT_COLUMNS, type WaitpointRow } from "./waitpoints.ts";

export interface TokenQuery {
  readonly statuses: readonly string[] | null;
  readonly tags: readonly string[] | null;
  readonly after: string | null;
  readonly before: string | null;
  readonly limit: number;
}

const FILTERED = `select ${WAITPOINT_COLUMNS} from waitpoints w where w.environment_id = $1 and w.type = 'MANUAL'
     and ($2::text[] is null or (case when w.status = 'PENDING' then 'WAITING' when w.timed_out then 'TIMED_OUT' else 'COMPLETED' end) = any ($2))
     and ($3::text[] is null or w.tags && $3)`;
const LIST_NEWER_FIRST = sql("tokens_list", `${FILTERED} and ($4::text is null or w.id < $4) order by w.id desc limit $5`);
const LIST_BACKWARDS = sql("tokens_list_back", `${FILTERED} and w.id > $4 order by w.id limit $5`);

/** Tokens, newest first; with `before` those after it in time, oldest first. */
export async function listTokenRows(db: Queryable, environmentId: string, q: TokenQuery): Promise<WaitpointRow[]> {
  return db.query<WaitpointRow>(q.before === null ? LIST_NEWER_FIRST : LIST_BACKWARDS, [
    environmentId,
    q.statuses,
    q.tags,
    q.before ?? q.after,
    q.limit,
  ]);
}
