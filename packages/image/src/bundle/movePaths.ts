/** A copy of a manifest in which every path that lies in `from` lies in `to`. Strings that only contain `from` stay. */
export function movePaths(value: unknown, from: string, to: string): unknown {
  if (typeof value === "string") return movePath(value, from, to);
  if (Array.isArray(value)) return value.map((item) => movePaths(item, from, to));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, movePaths(item, from, to)]));
}

function movePath(path: string, from: string, to: string): string {
  if (path === from) return to;
  return path.startsWith(`${from}/`) ? to + path.slice(from.length) : path;
}
