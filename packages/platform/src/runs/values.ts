// Values as they travel with a content type ("packets"): payloads, outputs, data of tokens.
//
// `application/super+json` is `{"json": value, "meta"?: how to revive Dates, Maps and the like}`. The platform never revives:
// it shows the JSON part, and what it encodes is JSON already, which has no meta.

export interface Packet {
  readonly data?: string;
  readonly dataType: string;
}

export const STORED_TYPE = "application/store";

/** The value of a packet as JSON can hold it. What cannot be read is shown as the text it is. */
export function decodeValue(data: string | null, dataType: string | null): unknown {
  if (data === null) return undefined;
  const json = dataType === "application/json" || dataType === "application/super+json" ? parsed(data) : undefined;
  if (json === undefined) return data;
  if (dataType === "application/json") return json.value;
  const envelope = json.value;
  return typeof envelope === "object" && envelope !== null && "json" in envelope ? envelope.json : data;
}

/** Encodes a value as the SDK would: text stays text, nothing has no data, the rest is super+json. */
export function encodeValue(value: unknown): Packet {
  if (value === undefined) return { dataType: "application/json" };
  if (typeof value === "string") return { data: value, dataType: "text/plain" };
  return { data: JSON.stringify({ json: value }), dataType: "application/super+json" };
}

/** The payload of a trigger: SDKs send text that is encoded already and say how; other callers send plain JSON. */
export function payloadPacket(payload: unknown, payloadType: string | undefined): Packet {
  const dataType = payloadType ?? "application/json";
  if (dataType === "application/json") return payload === undefined ? { dataType } : { data: JSON.stringify(payload), dataType };
  return typeof payload === "string"
    ? { data: payload, dataType }
    : payload === undefined
      ? { dataType }
      : { data: JSON.stringify(payload), dataType };
}

/** Metadata as an object; empty when there is none. */
export function decodeMetadata(metadata: string | null, metadataType: string): Record<string, unknown> | undefined {
  const value = decodeValue(metadata, metadataType);
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : undefined;
}

function parsed(text: string): { readonly value: unknown } | undefined {
  try {
    return { value: JSON.parse(text) as unknown };
  } catch {
    return undefined; // data of an older or foreign writer: the caller shows it as it is
  }
}
