import { createHmac } from "node:crypto";
import { TorporError, sdkWaits, type TokenView as TokenReply } from "@torpor/contracts";
import type { EngineForEnvironment, EnvironmentRef, TokenView } from "@torpor/engine";
import { Answer, type Mounted } from "@torpor/http";
import { equalInConstantTime, type Clock } from "@torpor/kernel";
import { mount } from "../auth/callers.ts";
import type { Identities } from "../auth/identities.ts";
import { requireScope } from "../auth/scopes.ts";
import type { TokenHeaders } from "../auth/tokenHeaders.ts";
import { given } from "../given.ts";
import type { Origins } from "../origins.ts";
import { accepted, found } from "../refusal.ts";
import { listOf } from "../runs/filter.ts";
import { momentOrRefuse } from "../runs/times.ts";
import { checkedTags, keyExpiresAt } from "../runs/triggerOptions.ts";
import { encodeValue } from "../runs/values.ts";
import { cursors } from "./runs.ts";

type Engine = Pick<EngineForEnvironment, "waitUntil" | "waitForToken" | "createToken" | "listTokens" | "getToken" | "completeToken">;

export interface WaitDeps {
  readonly engine: Engine;
  readonly clock: Clock;
  readonly identities: Identities;
  readonly tokenHeaders: TokenHeaders;
  readonly origins: Pick<Origins, "api">;
  readonly maxPayloadBytes: number;
}

export function waitRoutes(deps: WaitDeps): Mounted[] {
  return [...blockRoutes(deps), createTokenRoute(deps), ...readTokenRoutes(deps), ...completeRoutes(deps)];
}

function blockRoutes({ engine, clock }: WaitDeps): Mounted[] {
  return [
    mount(sdkWaits.waitUntil, async ({ params, body, caller }) => {
      const wait = accepted(await engine.waitUntil(caller.env, params.runId, { date: body.date, ...keyOf(body, clock.nowMs()) }));
      return { waitUntil: wait.waitUntil, waitpoint: { id: wait.waitpointId } };
    }),
    mount(sdkWaits.waitForToken, async ({ params, caller }) => {
      accepted(await engine.waitForToken(caller.env, params.runId, params.tokenId));
      return { success: true };
    }),
  ];
}

function createTokenRoute(deps: WaitDeps): Mounted {
  const { engine, clock } = deps;
  return mount(sdkWaits.createToken, async ({ body, caller }) => {
    const nowMs = clock.nowMs();
    const timeoutAt = body.timeout === undefined ? undefined : momentOrRefuse(body.timeout, nowMs, "timeout");
    const tags = body.tags === undefined ? undefined : checkedTags(body.tags, "tags");
    const { token, isCached } = accepted(await engine.createToken(caller.env, { ...keyOf(body, nowMs), ...given({ timeoutAt, tags }) }));
    const headers = await deps.tokenHeaders.for(caller, { scopes: [`write:waitpoints:${token.id}`], expirationTime: "24h" });
    return new Answer({ id: token.id, isCached, url: await callbackUrl(deps, caller.env, token) }, { headers });
  });
}

function readTokenRoutes(deps: WaitDeps): Mounted[] {
  const { engine } = deps;
  return [
    mount(sdkWaits.listTokens, async ({ query, caller }) => {
      const statuses = listOf(query["filter[status]"])?.map(tokenStatus);
      const tags = listOf(query["filter[tags]"]);
      const { "page[size]": size, "page[after]": after, "page[before]": before } = query;
      const page = await engine.listTokens(caller.env, given({ statuses, tags }), { size, ...given({ after, before }) });
      const data = await Promise.all(page.items.map((token) => tokenReply(deps, caller.env, token)));
      return { data, pagination: cursors(page) };
    }),
    mount(sdkWaits.getToken, async ({ params, caller }) => {
      requireScope(caller, "read", { type: "waitpoints", id: params.tokenId });
      return tokenReply(deps, caller.env, found(await engine.getToken(caller.env, params.tokenId), "token", params.tokenId));
    }),
  ];
}

function completeRoutes(deps: WaitDeps): Mounted[] {
  const { engine, identities } = deps;
  return [
    mount(sdkWaits.completeToken, async ({ params, body, caller }) => {
      requireScope(caller, "write", { type: "waitpoints", id: params.tokenId });
      accepted(await engine.completeToken(caller.env, params.tokenId, checkedOutput(body?.data ?? undefined, deps.maxPayloadBytes)));
      return { success: true as const };
    }),
    mount(sdkWaits.tokenCallback, async ({ params, query, body, headers }) => {
      if (headers["content-length"] === undefined)
        throw new TorporError("length_required", "Cannot take the callback: the header content-length is missing");
      const env = await identities.environmentById(query.environment);
      const token = env === null ? null : await engine.getToken(env, params.tokenId);
      const expected = token === null || env === null ? null : callbackHash(token, await identities.apiKeyOf(env.id));
      if (env === null || token === null || expected === null || !equalInConstantTime(expected, params.hash)) {
        throw new TorporError("unauthenticated", "Cannot take the callback: its address is not one that was handed out");
      }
      accepted(await engine.completeToken(env, token.id, checkedOutput(jsonOrEmpty(body), deps.maxPayloadBytes)));
      return { success: true as const };
    }),
  ];
}

function checkedOutput(value: unknown, maxBytes: number): ReturnType<typeof encodeValue> {
  const packet = encodeValue(value);
  const bytes = packet.data === undefined ? 0 : Buffer.byteLength(packet.data);
  if (bytes > maxBytes)
    throw new TorporError("body_too_large", `Cannot take data: ${bytes} bytes are more than ${maxBytes}`, { param: "data" });
  return packet;
}

function jsonOrEmpty(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString("utf8"));
  } catch {
    return {}; // third parties post what they like: the call itself is the message
  }
}

function keyOf(
  body: { readonly idempotencyKey?: string | undefined; readonly idempotencyKeyTTL?: string | undefined },
  nowMs: number,
): { idempotencyKey?: string; idempotencyKeyExpiresAt?: Date } {
  const { idempotencyKey, idempotencyKeyTTL } = body;
  return idempotencyKey === undefined
    ? {}
    : { idempotencyKey, idempotencyKeyExpiresAt: keyExpiresAt(idempotencyKeyTTL, nowMs, "idempotencyKeyTTL") };
}

function tokenStatus(name: string): TokenView["status"] {
  if (name === "WAITING" || name === "COMPLETED" || name === "TIMED_OUT") return name;
  throw new TorporError("request_invalid", `Cannot use filter[status]: there is no status ${JSON.stringify(name)}`, {
    param: "filter[status]",
  });
}

async function tokenReply(deps: WaitDeps, env: EnvironmentRef, token: TokenView): Promise<TokenReply> {
  const { id, status, createdAt, completedAt, timeoutAt, idempotencyKey, output, outputType } = token;
  return {
    id,
    url: await callbackUrl(deps, env, token),
    status,
    createdAt,
    tags: [...token.tags],
    ...given({ completedAt, timeoutAt, idempotencyKey, output, outputType }),
    ...(output === null ? {} : { outputIsError: token.outputIsError }),
  };
}

/** The address itself is the proof: whoever has it was given it. The environment says with whose key to check. */
async function callbackUrl(deps: WaitDeps, env: EnvironmentRef, token: TokenView): Promise<string> {
  const hash = callbackHash(token, await deps.identities.apiKeyOf(env.id));
  return `${deps.origins.api}/api/v1/waitpoints/tokens/${token.id}/callback/${hash}?environment=${env.id}`;
}

function callbackHash(token: TokenView, apiKey: string): string {
  return createHmac("sha256", apiKey).update(token.internalId).digest("hex");
}
