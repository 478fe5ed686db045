export type Given<T> = { [K in keyof T]?: Exclude<T[K], undefined | null> };

/** The fields that have a value. Options know "left out", not "undefined". */
export function given<T extends Record<string, unknown>>(fields: T): Given<T> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined && value !== null)) as Given<T>;
}
