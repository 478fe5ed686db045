/** Fails to compile when a case of a union was forgotten, and throws when one arrives all the same. */
export function assertNever(value: never): never {
  throw new Error(`Cannot handle ${JSON.stringify(value)}: no such case`);
}
