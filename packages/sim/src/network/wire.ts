// Both ends of a call: requests and answers are validated as over HTTP, and nothing but JSON gets through.
import type { BodyOf, ParamsOf, QueryOf, Route } from "@torpor/contracts";
import { ERRORS, TorporError, type ErrorCode } from "@torpor/contracts";
import { Answer, errorAnswer, validated, type CallOutcome } from "@torpor/http";
import { z } from "zod";
import { overJson } from "../host/json.ts";
import type { Endpoint, Message, WireAnswer } from "./message.ts";

/** What the server's end knows of a request. */
export interface Serving {
  readonly message: Message;
  readonly headers: Record<string, string>;
  readonly signal: AbortSignal;
  readonly onUnforeseen: (error: unknown) => void;
}

/** As the real server answers. Never rejects. */
export async function answerOf(endpoint: Endpoint, { message, headers, signal, onUnforeseen }: Serving): Promise<WireAnswer> {
  const { input, name, remoteAddress } = message;
  try {
    const mounted = endpoint.routes.get(name);
    if (mounted === undefined) throw new TorporError("not_found", `Cannot find ${name}`);
    const { route, handler } = mounted;
    const caller = await endpoint.authenticate(route, { headers, remoteAddress });
    const result = await handler({
      params: taken(route.params, input.params ?? {}, "params") as ParamsOf<Route>,
      query: taken(route.query, input.query ?? {}, "query") as QueryOf<Route>,
      body: taken(route.body, wire(input.body), "body") as BodyOf<Route>,
      caller,
      headers,
      remoteAddress,
      signal,
    });
    const answer = result instanceof Answer ? result : new Answer(result);
    const { status = message.route.status } = answer;
    return { status, body: wire(answer.body), shouldRetry: answer.headers["x-should-retry"] };
  } catch (error) {
    const answer = errorAnswer(error);
    if (!answer.expected) onUnforeseen(error);
    return { status: answer.status, body: answer.body, shouldRetry: answer.headers["x-should-retry"] };
  }
}

/** As the real client reads an answer. */
export function read({ route, name }: Message, { status, body, shouldRetry }: WireAnswer): CallOutcome<unknown> {
  if (status < 300) {
    const parsed = route.reply.safeParse(body);
    if (parsed.success) return { kind: "ok", status, body: parsed.data };
    throw new Error(`Cannot understand the answer of ${name}: ${parsed.error.message}`);
  }
  const { error = "", code } = body as { error?: string; code?: ErrorCode };
  const byCode = code === undefined ? status >= 500 || status === 408 || status === 429 : ERRORS[code].retry === "later";
  return { kind: "refused", status, code, message: error, mayRetry: shouldRetry === undefined ? byCode : shouldRetry === "true" };
}

/** What is left of a value after it was sent. */
function wire(value: unknown): unknown {
  return value === undefined || Buffer.isBuffer(value) ? value : overJson(value);
}

type Demand = "anything" | "nothing" | "something";

const DEMANDS = new WeakMap<z.ZodType, Demand>();

/** Most routes ask nothing of their query or body, and need no look at it. */
function taken(schema: z.ZodType, value: unknown, where: "params" | "query" | "body"): unknown {
  const demand = DEMANDS.get(schema) ?? demandOf(schema);
  DEMANDS.set(schema, demand);
  if (demand === "anything") return value;
  return demand === "nothing" && isObject(value) ? {} : validated(schema, value, where);
}

function demandOf(schema: z.ZodType): Demand {
  if (schema instanceof z.ZodUnknown) return "anything";
  return schema instanceof z.ZodObject && schema.def.catchall === undefined && Object.keys(schema.def.shape).length === 0
    ? "nothing"
    : "something";
}

function isObject(value: unknown): boolean {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
