import { isDeepStrictEqual } from "node:util";
import { assertNever } from "@torpor/kernel";
import type { MetadataOperation } from "../api.ts";

// A run's metadata: a JSON object that its task and its children change by small operations, on keys or `$.` paths.

export type Metadata = Record<string, unknown>;

export interface MetadataResult {
  readonly metadata: Metadata;
  /** Why an operation was left out, one sentence each: its key is no path, or names something that must not be written. */
  readonly refused: readonly string[];
}

/** Names through which an assignment would reach every object of the process. */
const FORBIDDEN: ReadonlySet<string> = new Set(["__proto__", "constructor", "prototype"]);
const MAX_DEPTH = 64;

/** Reads stored metadata. What is no JSON object counts as empty: the task's next write replaces it. */
export function parseMetadata(text: string | null, type = "application/json"): Metadata {
  if (text === null || text === "") return {};
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return {};
  }
  const plain = type === "application/super+json" && isObject(value) ? value["json"] : value;
  return isObject(plain) ? plain : {};
}

/** Applies operations in their order, as the SDK does on its side; one that cannot be applied is left out. */
export function applyOperations(metadata: Metadata, operations: readonly MetadataOperation[]): MetadataResult {
  let draft = structuredClone(metadata);
  const refused: string[] = [];
  for (const operation of operations) {
    if (operation.type === "update") {
      draft = withoutForbidden(operation.value);
      continue;
    }
    const path = parsePath(operation.key);
    if (path === undefined)
      refused.push(
        `Cannot ${operation.type} metadata at ${operation.key}: it must be a key or a path like $.a.b[0], without ${[...FORBIDDEN].join(", ")}`,
      );
    else applyOne(draft, path, operation);
  }
  return { metadata: draft, refused };
}

function withoutForbidden(value: Readonly<Record<string, unknown>>): Metadata {
  return Object.fromEntries(Object.entries(value).filter(([key]) => !FORBIDDEN.has(key)));
}

type Step = string | number;

function applyOne(root: Metadata, path: readonly Step[], operation: Exclude<MetadataOperation, { type: "update" }>): void {
  const last = path.at(-1) ?? "";
  const holder = holderOf(root, path, operation.type !== "delete" && operation.type !== "remove");
  if (holder === undefined) return; // nothing there to take away from
  const current = get(holder, last);
  switch (operation.type) {
    case "set":
      return set(holder, last, operation.value);
    case "delete":
      return remove(holder, last);
    case "append":
      return set(
        holder,
        last,
        current === undefined ? [operation.value] : [...(Array.isArray(current) ? current : [current]), operation.value],
      );
    case "remove":
      return Array.isArray(current)
        ? set(
            holder,
            last,
            current.filter((item) => !isDeepStrictEqual(item, operation.value)),
          )
        : undefined;
    case "increment":
      return set(holder, last, (typeof current === "number" ? current : 0) + operation.value);
    default:
      return assertNever(operation);
  }
}

function remove(holder: Metadata | unknown[], step: Step): void {
  if (!Array.isArray(holder)) delete holder[String(step)];
  else if (typeof step === "number") holder.splice(step, 1);
}

/** The object or array that holds the path's end; makes what is missing on the way when asked to. */
function holderOf(root: Metadata, path: readonly Step[], create: boolean): Metadata | unknown[] | undefined {
  let holder: Metadata | unknown[] = root;
  for (let at = 0; at < path.length - 1; at++) {
    const step = path[at] ?? "";
    let next = get(holder, step);
    if (!isObject(next) && !Array.isArray(next)) {
      if (!create) return undefined;
      next = typeof path[at + 1] === "number" ? [] : {};
      set(holder, step, next);
    }
    holder = next as Metadata | unknown[];
  }
  return holder;
}

function get(holder: Metadata | unknown[], step: Step): unknown {
  if (Array.isArray(holder)) return typeof step === "number" ? holder[step] : undefined;
  return Object.hasOwn(holder, String(step)) ? holder[String(step)] : undefined;
}

/** An index beyond the end appends: a path from outside must not make an array of a billion holes. */
function set(holder: Metadata | unknown[], step: Step, value: unknown): void {
  if (!Array.isArray(holder)) holder[String(step)] = value;
  else if (typeof step === "number") holder[Math.min(step, holder.length)] = value;
}

/** `key` stands for itself, `$.a.b[0]["c d"]` for a path; undefined when it is none or names something forbidden. */
function parsePath(key: string): readonly Step[] | undefined {
  const steps = key.startsWith("$") ? pathSteps(key.slice(1)) : [key];
  if (steps === undefined || steps.length === 0 || steps.length > MAX_DEPTH) return undefined;
  return steps.some((step) => typeof step === "string" && FORBIDDEN.has(step)) ? undefined : steps;
}

const STEP = /\.([^.[\]]+)|\[(\d{1,9})\]|\[(?:"([^"]*)"|'([^']*)')\]/y;

function pathSteps(text: string): Step[] | undefined {
  const steps: Step[] = [];
  STEP.lastIndex = 0;
  while (STEP.lastIndex < text.length) {
    const match = STEP.exec(text);
    if (match === null) return undefined;
    if (match[2] !== undefined) steps.push(Number(match[2]));
    else steps.push(match[1] ?? match[3] ?? match[4] ?? "");
  }
  return steps;
}

function isObject(value: unknown): value is Metadata {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
