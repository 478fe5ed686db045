import { TorporError, type TriggerOptionsBody } from "@torpor/contracts";
import type { TriggerOptions } from "@torpor/engine";
import { given } from "../given.ts";
import { delayOf, momentOrRefuse, ttlSecondsOf } from "./times.ts";
import { STORED_TYPE, payloadPacket } from "./values.ts";

const MAX_TAGS = 10;
const MAX_TAG_LENGTH = 128;
/** The child counts time once a second: a shorter limit could not be kept. */
const MIN_MAX_DURATION_SECONDS = 5;
const DEFAULT_KEY_TTL_MS = 30 * 86_400_000;

export interface TriggerLimits {
  /** Encoded payload and metadata, each, in bytes. */
  readonly maxPayloadBytes: number;
}

export interface TriggerInput {
  readonly payload: unknown;
  readonly options: TriggerOptionsBody | undefined;
  /** Where the options stand in the request: `options`, `items[3].options`. */
  readonly path: string;
}

/** What cannot be done must not be ignored: a debounced run that runs at once is another program. */
const UNSUPPORTED = ["debounce", "gates", "concurrency"] as const;

/** Turns a request's words into the engine's terms, or refuses it and names the field. */
export function triggerOptions(input: TriggerInput, nowMs: number, limits: TriggerLimits): TriggerOptions {
  const body = input.options ?? {};
  const at = (field: string): string => `${input.path}.${field}`;
  for (const field of UNSUPPORTED)
    if (body[field] !== undefined)
      throw new TorporError("request_unprocessable", `Cannot use ${at(field)}: it is not supported; leave it out`, { param: at(field) });
  const delayUntil = body.delay === undefined ? undefined : delayOf(body.delay, nowMs, at("delay"));
  return {
    ...payloadOptions(input, limits),
    ...metadataOptions(body, at, limits),
    ...given({
      parentRunId: body.parentRunId,
      resumeParentOnCompletion: body.resumeParentOnCompletion,
      lockToVersion: body.lockToVersion,
      queueName: body.queue?.name,
      concurrencyKey: body.concurrencyKey,
      delayUntil,
      ttlSeconds: body.ttl === undefined ? undefined : ttlSecondsOf(body.ttl, at("ttl")),
      machine: body.machine,
      maxAttempts: body.maxAttempts,
      maxDurationSeconds: body.maxDuration === undefined ? undefined : Math.max(MIN_MAX_DURATION_SECONDS, Math.ceil(body.maxDuration)),
      tags: body.tags === undefined ? undefined : checkedTags(body.tags, at("tags")),
      isTest: body.test,
      priority: body.priority,
    }),
    ...keyOptions(body, nowMs, at("idempotencyKeyTTL")),
  };
}

function payloadOptions(input: TriggerInput, limits: TriggerLimits): Pick<TriggerOptions, "payload" | "payloadType"> {
  const packet = payloadPacket(input.payload, input.options?.payloadType);
  if (packet.dataType === STORED_TYPE && (typeof input.payload !== "string" || input.payload === "")) {
    throw new TorporError("request_invalid", `Cannot use payload: of type ${STORED_TYPE} it must be the key of a stored value`, {
      param: "payload",
    });
  }
  checkSize(packet.data, "payload", limits);
  return packet.data === undefined ? { payloadType: packet.dataType } : { payload: packet.data, payloadType: packet.dataType };
}

function metadataOptions(
  body: TriggerOptionsBody,
  at: (field: string) => string,
  limits: TriggerLimits,
): Pick<TriggerOptions, "metadata" | "metadataType"> {
  if (body.metadata === undefined || body.metadata === null) return {};
  const metadata = typeof body.metadata === "string" ? body.metadata : JSON.stringify(body.metadata);
  checkSize(metadata, at("metadata"), limits);
  return { metadata, metadataType: body.metadataType ?? "application/json" };
}

function keyOptions(
  body: TriggerOptionsBody,
  nowMs: number,
  param: string,
): Pick<TriggerOptions, "idempotencyKey" | "idempotencyKeyExpiresAt"> {
  if (body.idempotencyKey === undefined) return {};
  return { idempotencyKey: body.idempotencyKey, idempotencyKeyExpiresAt: keyExpiresAt(body.idempotencyKeyTTL, nowMs, param) };
}

/** Keys live for 30 days unless said otherwise. */
export function keyExpiresAt(ttl: string | undefined, nowMs: number, param: string): Date {
  return ttl === undefined ? new Date(nowMs + DEFAULT_KEY_TTL_MS) : momentOrRefuse(ttl, nowMs, param);
}

/** At most 10 tags, each at most 128 characters. */
export function checkedTags(tags: string | readonly string[], param: string): string[] {
  const list = (typeof tags === "string" ? [tags] : tags).map((tag) => tag.trim()).filter((tag) => tag !== "");
  if (list.length > MAX_TAGS)
    throw new TorporError("request_unprocessable", `Cannot use ${param}: ${list.length} tags are more than ${MAX_TAGS}`, { param });
  const long = list.findIndex((tag) => tag.length > MAX_TAG_LENGTH);
  if (long >= 0)
    throw new TorporError("request_unprocessable", `Cannot use ${param}[${long}]: a tag has at most ${MAX_TAG_LENGTH} characters`, {
      param: `${param}[${long}]`,
    });
  return [...new Set(list)];
}

function checkSize(text: string | undefined, param: string, limits: TriggerLimits): void {
  if (text === undefined || text.length * 3 <= limits.maxPayloadBytes) return;
  const bytes = Buffer.byteLength(text);
  if (bytes > limits.maxPayloadBytes)
    throw new TorporError("body_too_large", `Cannot take ${param}: ${bytes} bytes are more than ${limits.maxPayloadBytes}`, { param });
}
