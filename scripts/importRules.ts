// The direction of imports, as data. Parts reach libraries, libraries reach contracts and kernel, and no part reaches another part:
// they meet over the contracts' routes only. A rule that no import needs any more is stale, and fails too.

const BASE = ["contracts", "kernel"] as const;

/** Which workspace may import which. Tests may also import `testkit`. */
export const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  kernel: [],
  contracts: [],
  http: [...BASE],
  observe: [],
  engine: [...BASE, "observe"],
  image: ["kernel"],
  platform: [...BASE, "http", "observe", "engine"],
  supervisor: [...BASE, "http", "observe"],
  gateway: [...BASE, "http", "observe", "image"],
  warmstart: [...BASE, "http", "observe"],
  postgres: ["kernel"],
  testkit: ["engine", "postgres"],
  sim: [...BASE, "http", "observe", "engine", "supervisor", "gateway"],
  cli: [...BASE, "http", "observe", "image", "platform", "supervisor", "gateway", "warmstart", "postgres", "sim"],
};

export interface ImportEdge {
  readonly file: string;
  readonly from: string;
  readonly to: string;
  readonly isTest: boolean;
}

/** Edges that the table does not allow. */
export function illegalImports(
  edges: readonly ImportEdge[],
  allowed: Readonly<Record<string, readonly string[]>> = MAY_IMPORT,
): ImportEdge[] {
  return edges.filter(
    (edge) => edge.from !== edge.to && !(allowed[edge.from]?.includes(edge.to) === true || (edge.isTest && TEST_ONLY.has(edge.to))),
  );
}

/** What tests may use wherever they stand. */
const TEST_ONLY = new Set(["testkit", "image", "engine"]);

/** `@torpor/x` in the text of a file that stands in `packages/<from>/`. */
export function importEdges(file: string, text: string): ImportEdge[] {
  const from = /^packages\/([^/]+)\//.exec(file)?.[1];
  if (from === undefined) return [];
  const isTest = /\.test\.ts$|\/test\/|onformance/.test(file);
  const edges: ImportEdge[] = [];
  for (const match of text.matchAll(/(?:from|import)\s*\(?\s*["']@torpor\/([a-z0-9-]+)/g))
    edges.push({ file, from, to: match[1] ?? "", isTest });
  for (const match of text.matchAll(/(?:from|import)\s*\(?\s*["'](?:\.\.\/)+(?:packages\/)?([a-z0-9-]+)\/src\//g))
    edges.push({ file, from, to: match[1] ?? "", isTest });
  return edges;
}
