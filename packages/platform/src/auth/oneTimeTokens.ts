import { TorporError } from "@torpor/contracts";
import type { PlatformDatabase } from "../database.ts";
import type { PublicToken } from "./publicToken.ts";

/** Remembers which one-time tokens were used, in the database, so that a second process knows it too. */
export class OneTimeTokens {
  readonly #database: PlatformDatabase;

  constructor(database: PlatformDatabase) {
    this.#database = database;
  }

  /** Uses the token up, if it is of that kind; refuses one that was used before. */
  async use(token: PublicToken | null): Promise<void> {
    if (token?.oneTimeId === undefined || token.oneTimeId === null) return;
    const rows = await this.#database.query(
      "insert into platform_used_tokens (id, expires_at) values ($1, $2) on conflict (id) do nothing returning id",
      [token.oneTimeId, token.expiresAt],
    );
    if (rows.length === 0) throw new TorporError("unauthenticated", "Cannot authenticate: the one-time token was used before");
  }

  /** Forgets tokens that no longer work anyway. */
  async prune(now: Date): Promise<void> {
    await this.#database.query("delete from platform_used_tokens where expires_at < $1", [now]);
  }
}
