/** What is left of a value after it was sent as JSON and read again: a value of its own, without dates and without what is undefined. */
export function overJson(value: unknown): unknown {
  switch (typeof value) {
    case "string":
    case "boolean":
      return value;
    case "number":
      return Number.isFinite(value) ? value + 0 : null;
    case "object":
      return value === null ? null : objectOverJson(value);
    case "bigint":
      throw new TypeError("Do not know how to serialize a BigInt");
    default:
      return undefined;
  }
}

function objectOverJson(value: object): unknown {
  if ("toJSON" in value && typeof value.toJSON === "function") return overJson(value.toJSON());
  if (Array.isArray(value)) return value.map((item) => overJson(item) ?? null);
  const copy: Record<string, unknown> = {};
  for (const key of Object.keys(value)) {
    const item = overJson((value as Readonly<Record<string, unknown>>)[key]);
    if (item !== undefined) copy[key] = item;
  }
  return copy;
}
