import type { EnvironmentRef, Page, PageRequest, Refusal, TokenView } from "../api.ts";
import { friendly } from "../domain/ids.ts";
import { readWaitpoint, type WaitpointRow } from "../sql/waitpoints.ts";
import { dropTimer } from "../sql/timers.ts";
import { listTokenRows } from "../sql/tokens.ts";
import { idBody, notFound, now, type Core } from "./core.ts";
import { pageOf } from "./pages.ts";
import { armWaitpoint, makeWaitpoint, type KeyedWait } from "./waits.ts";
import { completeWaitpoint } from "./waitpoints.ts";

export async function createToken(
  core: Core,
  env: EnvironmentRef,
  token: KeyedWait & { readonly timeoutAt?: Date; readonly tags?: readonly string[] },
): Promise<{ readonly kind: "created"; readonly token: TokenView; readonly isCached: boolean }> {
  return core.db.transaction(async (tx) => {
    const at = now(core);
    const { waitpoint, isCached } = await makeWaitpoint(core, tx, env, token, {
      type: "MANUAL",
      at,
      ...(token.timeoutAt === undefined ? {} : { completesAfter: token.timeoutAt }),
      ...(token.tags === undefined ? {} : { tags: token.tags }),
    });
    if (!isCached && token.timeoutAt !== undefined) await armWaitpoint(core, tx, waitpoint.id, token.timeoutAt);
    return { kind: "created", token: tokenView(waitpoint), isCached };
  });
}

/** Completing what is complete succeeds and changes nothing: callers repeat themselves when an answer is lost. */
export async function completeToken(
  core: Core,
  env: EnvironmentRef,
  tokenId: string,
  output: { readonly data?: string; readonly dataType?: string; readonly isError?: boolean },
): Promise<{ readonly kind: "completed"; readonly already: boolean } | Refusal> {
  return core.db.transaction(async (tx) => {
    const token = await readWaitpoint(tx, idBody("waitpoint", tokenId));
    if (token === undefined || token.environment_id !== env.id || token.type !== "MANUAL") return notFound("token", tokenId);
    const result = {
      output: output.data ?? null,
      outputType: output.dataType ?? "application/json",
      isError: output.isError === true,
      timedOut: false,
    };
    const isFirst = await completeWaitpoint(core, tx, token.id, now(core), result);
    if (isFirst && token.completes_after !== null) await dropTimer(tx, "waitpoint", token.id);
    return { kind: "completed", already: !isFirst };
  });
}

export async function getToken(core: Core, env: EnvironmentRef, tokenId: string): Promise<TokenView | null> {
  const token = await readWaitpoint(core.db, idBody("waitpoint", tokenId));
  return token === undefined || token.environment_id !== env.id || token.type !== "MANUAL" ? null : tokenView(token);
}

export async function listTokens(
  core: Core,
  env: EnvironmentRef,
  filter: { readonly statuses?: readonly TokenView["status"][]; readonly tags?: readonly string[] },
  page: PageRequest,
): Promise<Page<TokenView>> {
  const rows = await listTokenRows(core.db, env.id, {
    statuses: filter.statuses ?? null,
    tags: filter.tags ?? null,
    ...cursor(page),
    limit: page.size + 1,
  });
  return pageOf(rows.map(tokenView), page, (token) => token.id);
}

function cursor(page: PageRequest): { after: string | null; before: string | null } {
  return {
    after: page.after === undefined ? null : idBody("waitpoint", page.after),
    before: page.before === undefined ? null : idBody("waitpoint", page.before),
  };
}

function tokenView(row: WaitpointRow): TokenView {
  return {
    id: friendly("waitpoint", row.id),
    internalId: row.id,
    status: row.status === "PENDING" ? "WAITING" : row.timed_out ? "TIMED_OUT" : "COMPLETED",
    createdAt: row.created_at,
    completedAt: row.completed_at,
    timeoutAt: row.completes_after,
    idempotencyKey: row.idempotency_key,
    tags: row.tags,
    output: row.output,
    outputType: row.output_type,
    outputIsError: row.output_is_error,
  };
}
