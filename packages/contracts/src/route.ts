import { z } from "zod";

/**
 * Who may call a route. There is no default: a route without it does not compile.
 * - `none`: anybody (health, long polls that carry no data of others)
 * - `environment`: a secret key of an environment
 * - `environment_or_public`: the same, or a public token whose scopes allow it
 * - `worker`: a node, by worker group token and managed secret
 * - `sandbox`: a runner inside a sandbox of this node
 * - `gateway`: who holds the gateway's bearer token
 * - `callback`: the gateway, by a signature over the body
 * - `admin`: the operator, by admin token
 */
export type Auth = "none" | "environment" | "environment_or_public" | "worker" | "sandbox" | "gateway" | "callback" | "admin";

export type Method = "GET" | "POST" | "PUT" | "DELETE";

type Empty = Record<never, never>;

/** A route as data: server and client are made from it. */
export interface Route<Params = unknown, Query = unknown, Body = unknown, Reply = unknown> {
  readonly method: Method;
  /** Fastify notation: `/runs/:runId`. Names in it are the keys of `params`. */
  readonly path: string;
  readonly auth: Auth;
  readonly params: z.ZodType<Params>;
  readonly query: z.ZodType<Query>;
  readonly body: z.ZodType<Body>;
  readonly reply: z.ZodType<Reply>;
  /** Status of a success. */
  readonly status: number;
  readonly bodyLimitBytes: number;
}

export interface RouteSpec<Params, Query, Body, Reply> {
  readonly auth: Auth;
  readonly params?: z.ZodType<Params>;
  readonly query?: z.ZodType<Query>;
  readonly body?: z.ZodType<Body>;
  readonly reply: z.ZodType<Reply>;
  readonly status?: number;
  readonly bodyLimitBytes?: number;
}

/** Bodies that carry no payload of a user are small. */
export const DEFAULT_BODY_LIMIT_BYTES = 64 * 1024;
/** Payloads, outputs and metadata of users. The SDK uploads larger ones elsewhere; the reference refuses more than 3 MiB. */
export const PAYLOAD_BODY_LIMIT_BYTES = 4 * 1024 * 1024;

const anything = z.unknown();
const empty = z.object({});

/** Declares a route. */
export function route<Params = Empty, Query = Empty, Body = unknown, Reply = unknown>(
  method: Method,
  path: string,
  spec: RouteSpec<Params, Query, Body, Reply>,
): Route<Params, Query, Body, Reply> {
  return {
    method,
    path,
    auth: spec.auth,
    params: spec.params ?? (empty as unknown as z.ZodType<Params>),
    query: spec.query ?? (empty as unknown as z.ZodType<Query>),
    body: spec.body ?? (anything as unknown as z.ZodType<Body>),
    reply: spec.reply,
    status: spec.status ?? 200,
    bodyLimitBytes: spec.bodyLimitBytes ?? DEFAULT_BODY_LIMIT_BYTES,
  };
}
