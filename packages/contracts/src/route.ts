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

/** How a body is read: `json` whatever its content type says, `raw` as a Buffer, `stream` as it arrives. */
export type BodyKind = "json" | "raw" | "stream";

type Empty = Record<never, never>;

/** A route as data: server and client are made from it. */
export interface Route<Params = unknown, Query = unknown, Body = unknown, Reply = unknown, Who extends Auth = Auth> {
  readonly method: Method;
  /** Fastify notation: `/runs/:runId`. Names in it are the keys of `params`. */
  readonly path: string;
  readonly auth: Who;
  readonly params: z.ZodType<Params>;
  readonly query: z.ZodType<Query>;
  readonly body: z.ZodType<Body>;
  readonly bodyKind: BodyKind;
  readonly reply: z.ZodType<Reply>;
  /** Status of a success. */
  readonly status: number;
  readonly bodyLimitBytes: number;
}

export interface RouteSpec<Params, Query, Body, Reply, Who extends Auth> {
  readonly auth: Who;
  readonly params?: z.ZodType<Params>;
  readonly query?: z.ZodType<Query>;
  readonly body?: z.ZodType<Body>;
  readonly bodyKind?: BodyKind;
  readonly reply: z.ZodType<Reply>;
  readonly status?: number;
  readonly bodyLimitBytes?: number;
}

/** Bodies that carry no payload of a user are small. */
export const DEFAULT_BODY_LIMIT_BYTES = 64 * 1024;
/** Payloads, outputs and metadata of users. The SDK stores larger ones elsewhere; the reference refuses more than 3 MiB. */
export const PAYLOAD_BODY_LIMIT_BYTES = 4 * 1024 * 1024;

/** Declares a route. */
export function route<Params = Empty, Query = Empty, Body = unknown, Reply = unknown, const Who extends Auth = Auth>(
  method: Method,
  path: string,
  spec: RouteSpec<Params, Query, Body, Reply, Who>,
): Route<Params, Query, Body, Reply, Who> {
  return {
    method,
    path,
    auth: spec.auth,
    params: spec.params ?? (z.object({}) as unknown as z.ZodType<Params>),
    query: spec.query ?? (z.object({}) as unknown as z.ZodType<Query>),
    body: spec.body ?? (z.unknown() as unknown as z.ZodType<Body>),
    bodyKind: spec.bodyKind ?? "json",
    reply: spec.reply,
    status: spec.status ?? 200,
    bodyLimitBytes: spec.bodyLimitBytes ?? DEFAULT_BODY_LIMIT_BYTES,
  };
}

/** The declared types of a route, for whoever serves or calls it. */
export type ParamsOf<R> = R extends Route<infer P, infer _Q, infer _B, infer _R, infer _W> ? P : never;
export type QueryOf<R> = R extends Route<infer _P, infer Q, infer _B, infer _R, infer _W> ? Q : never;
export type BodyOf<R> = R extends Route<infer _P, infer _Q, infer B, infer _R, infer _W> ? B : never;
export type ReplyOf<R> = R extends Route<infer _P, infer _Q, infer _B, infer Y, infer _W> ? Y : never;
export type AuthOf<R> = R extends Route<infer _P, infer _Q, infer _B, infer _R, infer W> ? W : never;
