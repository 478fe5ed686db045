import { TorporError } from "@torpor/contracts";
import type { PlatformDatabase } from "../database.ts";
import type { PublicToken } from "./publicToken.ts";

const USE = `
insert into platform_used_tokens as used (id, expires_at, request_key) values ($1, $2, $3)
on conflict (id) do update set expires_at = excluded.expires_at where used.request_key = excluded.request_key
returning id`;

/** Remembers which one-time tokens were used, in the database, so that a second process knows it too. */
export class OneTimeTokens {
  readonly #database: PlatformDatabase;

  constructor(database: PlatformDatabase) {
    this.#database = database;
  }

  /** Uses the token up, if it is of that kind; refuses one that was used before, unless by an earlier try of the same request. */
  async use(token: PublicToken | null, requestKey: string | undefined): Promise<void> {
    if (token?.oneTimeId === undefined || token.oneTimeId === null) return;
    const rows = await this.#database.query(USE, [token.oneTimeId, token.expiresAt, requestKey ?? null]);
    if (rows.length === 0) throw new TorporError("unauthenticated", "Cannot authenticate: the one-time token was used before");
  }

  /** Forgets tokens that no longer work anyway. */
  async prune(now: Date): Promise<void> {
    await this.#database.query("delete from platform_used_tokens where expires_at < $1", [now]);
  }
}
