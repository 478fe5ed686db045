// Which runners live on this node, and which run each of them holds.
//
// R1  A run is held by at most one runner, a runner holds at most one run.
// R2  What a sandbox says about itself is a claim (L14): where its address is known, the address decides.
// R3  A restored runner is reachable under every name that it ever had; the newest holder of a name is meant. Whoever has only
//     spoken under such a name before was that runner, or an earlier one from the same memory: it is no more.
// R4  Only a new hand-out takes a run away from a live runner; no other runner's word does.
import { TorporError } from "@torpor/contracts";
import type { Clock } from "@torpor/kernel";
import { isHearsay, Runner, type Room, type RunnerFacts } from "./runner.ts";

/** Runners that nobody announced (another node's, or from before a restart) are remembered up to this number. */
const MAX_RUNNERS = 10_000;
const FORMER_RUNS = 16;
/** So many names of runners whose sandboxes we had removed are remembered, for words of theirs that are still on the way. */
const MAX_SENT_AWAY = 1_000;

/** Where another run was when the runner had it says nothing about its next one: not its attempt, not its snapshots. */
const NOTHING_KNOWN = { attemptNumber: null, restoredAt: null, snapshotId: null } as const satisfies Partial<Runner>;

export type BindOutcome = "bound" | "held_by_other";

export interface RunnersOptions {
  readonly clock: Clock;
  /** Told when a run gets a holder here, and when it has none any more. */
  readonly onBound: (runId: string) => void;
  readonly onUnbound: (runId: string) => void;
  /** Told when a runner is no more. */
  readonly onRemoved?: (runner: Runner) => void;
}

/** The registry of runners. */
export class Runners {
  readonly #options: RunnersOptions;
  readonly #byName = new Map<string, Runner>();
  readonly #byAlias = new Map<string, Runner>();
  readonly #byRun = new Map<string, Runner>();
  readonly #byAddress = new Map<string, Runner>();
  readonly #sentAway = new Set<string>();
  readonly #open = new Set<{ readonly whose: () => Runner | undefined }>();

  constructor(options: RunnersOptions) {
    this.#options = options;
  }

  /** Adds a runner under its name and the names it had before (R3). */
  add(facts: RunnerFacts): Runner {
    const runner = new Runner(facts, this.#options.clock.monotonicMs());
    this.remove(facts.name);
    for (const alias of facts.lineage) this.#forgetHearsay(alias);
    this.#sentAway.delete(facts.name);
    this.#byName.set(runner.name, runner);
    for (const alias of runner.lineage) this.#byAlias.set(alias, runner);
    return runner;
  }

  /**
   * The runner of a sandbox that is found. Who has spoken before that stays the same `Runner`, since calls of its own and its sleep may
   * be under way with it (L1); what those have taught us of its attempt is newer than what was noted beside its sandbox.
   */
  found(facts: RunnerFacts): Runner {
    const runner = this.#byName.get(facts.name);
    if (runner === undefined) return this.add(facts);
    const { room, lineage, restoredAt, serves } = facts;
    Object.assign(runner, { room, lineage, restoredAt, serves, attemptNumber: runner.attemptNumber ?? facts.attemptNumber });
    for (const alias of lineage) {
      this.#forgetHearsay(alias);
      this.#byAlias.set(alias, runner);
    }
    return runner;
  }

  get(name: string): Runner | undefined {
    return this.#byName.get(name);
  }

  /** A request has come. Whose it is, is asked when it matters: it may have come before its runner was known. Returns its end. */
  requestOpened(whose: () => Runner | undefined): () => void {
    const request = { whose };
    this.#open.add(request);
    return () => void this.#open.delete(request);
  }

  /** How many requests of the runner of this name are not answered yet, those included that came before its sandbox was found. */
  openRequestsOf(name: string): number {
    return [...this.#open].filter(({ whose }) => whose()?.name === name).length;
  }

  /** The runner that answers to a name now. */
  named(name: string): Runner | undefined {
    return this.#byName.get(name) ?? this.#byAlias.get(name);
  }

  holderOf(runId: string): Runner | undefined {
    return this.#byRun.get(runId);
  }

  all(): IterableIterator<Runner> {
    return this.#byName.values();
  }

  /** Runs that are held here. */
  runIds(): string[] {
    return [...this.#byRun.keys()];
  }

  /** The sandbox is there: from now on its address tells who it is. */
  located(runner: Runner, at: { readonly instanceId: string | null; readonly address: string | null }): void {
    runner.instanceId = at.instanceId ?? runner.instanceId;
    if (at.address === null) return;
    runner.address = at.address;
    this.#byAddress.set(at.address, runner);
  }

  /** The runner whose sandbox has this address. */
  at(remoteAddress: string): Runner | undefined {
    return this.#byAddress.get(plain(remoteAddress));
  }

  /** Who calls, from where it calls and what it claims (R2). Throws `forbidden` when the claim is another's. */
  identify(claim: string, remoteAddress: string): Runner | undefined {
    const claimed = this.named(claim);
    const address = plain(remoteAddress);
    const located = this.at(address);
    if (located !== undefined) {
      if (claimed === undefined || claimed === located) return located;
      throw new TorporError("forbidden", `Cannot act as ${claim}: it lives at another address`);
    }
    if (claimed !== undefined && claimed.address !== null && !isLoopback(address)) {
      throw new TorporError("forbidden", `Cannot act as ${claim}: it lives at another address`);
    }
    return claimed;
  }

  /** The runner of a claim, made known if it is not: another node, or this one before a restart, may have made it. */
  identifyOrAdd(claim: string, remoteAddress: string): Runner {
    const known = this.identify(claim, remoteAddress);
    if (known !== undefined) return known;
    if (this.#sentAway.has(claim)) throw new TorporError("forbidden", `Cannot act as ${claim}: its run is another's, and its sandbox goes`);
    if (this.#byName.size >= MAX_RUNNERS)
      throw new TorporError("no_capacity", `Cannot serve ${claim}: ${MAX_RUNNERS} runners are known already`);
    return this.add({ name: claim, room: { cpu: 0, memoryGib: 0 }, lineage: [], restoredAt: null, adopted: true, attemptNumber: null });
  }

  /** Makes `runner` the holder of a run (R1). A run that another live runner holds is not given (R4). */
  bind(runner: Runner, runId: string): BindOutcome {
    const holder = this.#byRun.get(runId);
    if (holder === runner) return "bound";
    if (holder !== undefined || runner.formerRunIds.has(runId)) return "held_by_other";
    if (runner.runId !== null) this.unbind(runner);
    if (runner.hadRun) Object.assign(runner, NOTHING_KNOWN);
    runner.hadRun = true;
    runner.runId = runId;
    this.#byRun.set(runId, runner);
    this.#options.onBound(runId);
    return "bound";
  }

  /** Makes `runner` the holder whoever held the run before, and returns that one: the platform has said so (R4). */
  take(runner: Runner, runId: string): Runner | undefined {
    runner.formerRunIds.delete(runId);
    const holder = this.#byRun.get(runId);
    if (holder === runner) return undefined;
    this.takeAway(runId);
    this.bind(runner, runId);
    return holder;
  }

  /** Takes the run away from whoever holds it: the platform has handed it out anew (R4). */
  takeAway(runId: string): Runner | undefined {
    const holder = this.#byRun.get(runId);
    if (holder !== undefined) this.unbind(holder);
    return holder;
  }

  /** The runner has done with its run: late words of it about that run do not bind it again. */
  unbind(runner: Runner): void {
    const { runId } = runner;
    if (runId === null) return;
    runner.runId = null;
    runner.completing = false;
    remember(runner.formerRunIds, runId);
    this.#byRun.delete(runId);
    this.#options.onUnbound(runId);
  }

  /** The runner is no more. */
  remove(name: string): Runner | undefined {
    const runner = this.#byName.get(name);
    if (runner === undefined) return undefined;
    this.unbind(runner);
    this.#byName.delete(name);
    for (const alias of runner.lineage) if (this.#byAlias.get(alias) === runner) this.#byAlias.delete(alias);
    if (runner.address !== null && this.#byAddress.get(runner.address) === runner) this.#byAddress.delete(runner.address);
    this.#options.onRemoved?.(runner);
    return runner;
  }

  /** Its sandbox is being removed: what it still says makes it nobody's holder again. */
  sendAway(name: string): void {
    this.remove(name);
    this.#sentAway.add(name);
    if (this.#sentAway.size > MAX_SENT_AWAY) this.#sentAway.delete(this.#sentAway.values().next().value ?? "");
  }

  /** Who was known by its word under this name alone has another one now, or is no more (R3). */
  #forgetHearsay(name: string): void {
    const runner = this.#byName.get(name);
    if (runner !== undefined && isHearsay(runner)) this.remove(name);
  }

  /** What the runners here were given, all together. Frozen ones count: they still hold their memory. */
  placed(): Room {
    return sum(this.#byName.values());
  }

  /** The part of it that waits for another run, and gives way when it is needed. */
  idle(): Room {
    return sum([...this.#byName.values()].filter(({ idleSinceMs }) => idleSinceMs !== null));
  }
}

function sum(runners: Iterable<Runner>): Room {
  let cpu = 0;
  let memoryGib = 0;
  for (const { room } of runners) {
    cpu += room.cpu;
    memoryGib += room.memoryGib;
  }
  return { cpu, memoryGib };
}

/** An IPv4 address as a server on both kinds of addresses sees it, without its prefix. */
function plain(address: string): string {
  return address.replace(/^::ffff:/, "");
}

export function isLoopback(address: string): boolean {
  const text = plain(address);
  return text === "::1" || text.startsWith("127.");
}

function remember(set: Set<string>, value: string): void {
  set.add(value);
  if (set.size > FORMER_RUNS) set.delete(set.values().next().value ?? "");
}
