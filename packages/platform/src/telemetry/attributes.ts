import { z } from "zod";

// Attributes of OTLP as JSON: a list of keys with values that name their type.

export interface AnyValue {
  stringValue?: string | undefined;
  boolValue?: boolean | undefined;
  /** 64 bits come as text. */
  intValue?: string | number | undefined;
  doubleValue?: number | string | undefined;
  bytesValue?: string | undefined;
  arrayValue?: { values?: AnyValue[] | undefined } | undefined;
  kvlistValue?: { values?: { key: string; value?: AnyValue | undefined }[] | undefined } | undefined;
}

const AnyValueSchema: z.ZodType<AnyValue> = z.lazy(() =>
  z.object({
    stringValue: z.string().optional(),
    boolValue: z.boolean().optional(),
    intValue: z.union([z.string(), z.number()]).optional(),
    doubleValue: z.union([z.number(), z.string()]).optional(),
    bytesValue: z.string().optional(),
    arrayValue: z.object({ values: z.array(AnyValueSchema).optional() }).optional(),
    kvlistValue: z.object({ values: z.array(z.object({ key: z.string(), value: AnyValueSchema.optional() })).optional() }).optional(),
  }),
);

export const AnyValue = AnyValueSchema;
export const KeyValues = z.array(z.object({ key: z.string(), value: AnyValueSchema.optional() })).default([]);
export type KeyValues = z.infer<typeof KeyValues>;

export type Attributes = Readonly<Record<string, unknown>>;

/** Deeper values are cut: nobody reads them, and they could be made to exhaust the stack. */
const MAX_DEPTH = 8;

export function attributesOf(list: KeyValues): Attributes {
  return Object.fromEntries(list.map(({ key, value }) => [storable(key), valueOf(value, 0)]));
}

export function valueOf(value: AnyValue | undefined, depth = 0): unknown {
  if (value === undefined || depth > MAX_DEPTH) return null;
  if (value.stringValue !== undefined) return storable(value.stringValue);
  if (value.boolValue !== undefined) return value.boolValue;
  if (value.intValue !== undefined) return Number(value.intValue);
  if (value.doubleValue !== undefined) return Number(value.doubleValue);
  if (value.bytesValue !== undefined) return storable(value.bytesValue);
  if (value.arrayValue !== undefined) return (value.arrayValue.values ?? []).map((item) => valueOf(item, depth + 1));
  if (value.kvlistValue !== undefined)
    return Object.fromEntries((value.kvlistValue.values ?? []).map((item) => [storable(item.key), valueOf(item.value, depth + 1)]));
  return null;
}

/** PostgreSQL takes neither NUL nor half characters. */
export function storable(text: string): string {
  return text.replaceAll("\0", "").toWellFormed();
}
