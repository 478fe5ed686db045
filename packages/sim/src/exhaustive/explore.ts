// Every way that the small core can go, breadth first: one run, two sandboxes, one intent, one wake, one crash, one lost answer.
import { engineSteps } from "./engineSteps.ts";
import { gatewaySteps } from "./gatewaySteps.ts";
import { FIRST, type State } from "./state.ts";
import { supervisorSteps } from "./supervisorSteps.ts";
import { brokenBy, endOf } from "./laws.ts";

export interface Step {
  readonly name: string;
  readonly next: State;
}

export interface Exploration {
  readonly states: number;
  readonly steps: number;
  /** States from which nothing follows: the ways that it can end. */
  readonly ends: number;
  readonly endKinds: Readonly<Record<string, number>>;
  /** The first broken law, and the shortest way to it. */
  readonly broken: string | null;
  readonly path: readonly string[];
}

interface Seen {
  readonly state: State;
  readonly from: string | null;
  readonly by: string;
}

export function explore(): Exploration {
  const seen = new Map<string, Seen>();
  const queue: string[] = [];
  const visit = (state: State, from: string | null, by: string): string | null => {
    const key = JSON.stringify(state);
    if (seen.has(key)) return null;
    seen.set(key, { state, from, by });
    queue.push(key);
    return key;
  };
  visit(FIRST, null, "the runner has asked to be put to sleep");
  const endKinds: Record<string, number> = {};
  let steps = 0;
  for (let at = 0; at < queue.length; at++) {
    const key = queue[at] ?? "";
    const found = seen.get(key);
    if (found === undefined) throw new Error("Cannot find a state that was seen");
    const next = [...engineSteps(found.state), ...gatewaySteps(found.state), ...supervisorSteps(found.state)];
    const changes = next.filter((step) => JSON.stringify(step.next) !== key);
    const broken = brokenBy(found.state, changes.length === 0);
    if (broken !== null) return { states: seen.size, steps, ends: 0, endKinds, broken, path: pathTo(seen, key) };
    if (changes.every(({ name }) => CRASHES.has(name))) {
      const kind = endOf(found.state);
      endKinds[kind] = (endKinds[kind] ?? 0) + 1;
    }
    steps += changes.length;
    for (const step of changes) visit(step.next, key, step.name);
  }
  const ends = Object.values(endKinds).reduce((sum, count) => sum + count, 0);
  return { states: seen.size, steps, ends, endKinds, broken: null, path: [] };
}

/** What nobody has to wait for: a state from which only this follows is an end. */
const CRASHES: ReadonlySet<string> = new Set(["the supervisor is killed", "the gateway is killed and starts again"]);

function pathTo(seen: ReadonlyMap<string, Seen>, key: string): string[] {
  const path: string[] = [];
  for (let at: string | null = key; at !== null;) {
    const found: Seen | undefined = seen.get(at);
    if (found === undefined) break;
    path.unshift(found.by);
    at = found.from;
  }
  return path;
}
