import { gateway, sdkRuns, sdkWaits, type InstanceView, type MemoryImageView, type RetrievedRun } from "@torpor/contracts";
import type { RouteClient } from "@torpor/http";
import { unwrap } from "../connection.ts";
import { runnerOf } from "./figures.ts";
import type { StoryRun } from "./story.ts";

/** A run that is watched: those of the story, and the children they start. */
export interface Watched {
  readonly runId: string;
  readonly label: string;
  readonly story: StoryRun | undefined;
  run: RetrievedRun | undefined;
  /** The sandbox that executes it, or did so last. */
  runner: string | undefined;
  /** Since when the run is seen asleep, in monotonic milliseconds. */
  asleepSinceMs: number | undefined;
  /** Since when it is seen to have started. */
  startedMs: number | undefined;
  /** The most processes that were seen for it while it slept. */
  processesAsleep: number;
  outsideDone: boolean;
}

/** What is seen at one moment. */
export interface Sample {
  readonly watched: readonly Watched[];
  readonly instances: readonly InstanceView[];
  readonly memoryImages: readonly MemoryImageView[];
}

/** A run that has just been triggered. */
export function watch(runId: string, label: string, story?: StoryRun): Watched {
  return {
    runId,
    label,
    story,
    run: undefined,
    runner: undefined,
    asleepSinceMs: undefined,
    startedMs: undefined,
    processesAsleep: 0,
    outsideDone: false,
  };
}

/** Looks at every run, sandbox and memory image once, and does what the story says must happen from outside. */
export async function look(
  { sdk, node, sleeps }: { readonly sdk: RouteClient; readonly node: RouteClient; readonly sleeps: boolean },
  watched: Watched[],
  nowMs: number,
): Promise<Sample> {
  await Promise.all(watched.filter((one) => !isOver(one)).map((one) => refresh(sdk, one, nowMs)));
  addChildren(watched);
  const [{ instances }, { snapshots }] = await Promise.all([
    node.call(gateway.listInstances).then(unwrap),
    node.call(gateway.listSnapshots).then(unwrap),
  ]);
  const patienceMs = sleeps ? ASLEEP_WITHIN_MS : WITHOUT_SLEEP_AFTER_MS;
  await Promise.all(watched.map((one) => actFromOutside(sdk, one, { nowMs, patienceMs })));
  return { watched, instances, memoryImages: snapshots };
}

/** Whether nothing will change any more. */
export function isOver({ run }: Watched): boolean {
  return run !== undefined && (run.isCompleted || run.isFailed || run.isCancelled);
}

async function refresh(sdk: RouteClient, one: Watched, nowMs: number): Promise<void> {
  one.run = unwrap(await sdk.call(sdkRuns.retrieve, { params: { runId: one.runId } }));
  one.runner = runnerOf(unwrap(await sdk.call(sdkRuns.timeline, { params: { runId: one.runId } })).events);
  if (one.run.startedAt !== undefined) one.startedMs ??= nowMs;
  if (!one.run.isWaiting) one.asleepSinceMs = undefined;
  else one.asleepSinceMs ??= nowMs;
}

function addChildren(watched: Watched[]): void {
  const known = new Set(watched.map(({ runId }) => runId));
  const children = watched.flatMap(({ run }) => run?.relatedRuns.children ?? []);
  for (const child of children) if (!known.has(child.id)) watched.push(watch(child.id, `  ${child.taskIdentifier}`));
}

/** Where runs cannot sleep, what comes from outside comes this long after the run's start. */
const WITHOUT_SLEEP_AFTER_MS = 15_000;
/** Where they can, it comes to a run that is seen asleep, however long that takes on a busy machine; within reason. */
const ASLEEP_WITHIN_MS = 120_000;

interface Moment {
  readonly nowMs: number;
  /** How long after its start a run is waited for to fall asleep. */
  readonly patienceMs: number;
}

/** Whether what comes from outside, so long after the run fell asleep, is due. */
export function isTimeToAct(
  { asleepSinceMs, startedMs }: Pick<Watched, "asleepSinceMs" | "startedMs">,
  afterMs: number,
  { nowMs, patienceMs }: Moment,
): boolean {
  if (asleepSinceMs !== undefined) return nowMs - asleepSinceMs >= afterMs;
  return startedMs !== undefined && nowMs - startedMs >= patienceMs + afterMs;
}

async function actFromOutside(sdk: RouteClient, one: Watched, moment: Moment): Promise<void> {
  const outside = one.story?.outside;
  if (outside === undefined || one.outsideDone || !isTimeToAct(one, outside.afterMs, moment)) return;
  one.outsideDone = true;
  if (outside.action === "cancel") unwrap(await sdk.call(sdkRuns.cancel, { params: { runId: one.runId } }));
  else await completeToken(sdk, one.runId);
}

/** The token carries the id of its run as a tag: that is how somebody outside finds it. */
async function completeToken(sdk: RouteClient, runId: string): Promise<void> {
  const { data } = unwrap(await sdk.call(sdkWaits.listTokens, { query: { "page[size]": 10, "filter[tags]": `run:${runId}` } }));
  const [token] = data;
  if (token !== undefined)
    unwrap(await sdk.call(sdkWaits.completeToken, { params: { tokenId: token.id }, body: { data: { answer: 42 } } }));
}

/** The sandbox of a run that is not over: its runner's, or the one that was made for it as long as that has not begun. */
export function sandboxOf(one: Watched, instances: readonly InstanceView[]): InstanceView | undefined {
  const isIts = ({ name, metadata }: InstanceView): boolean =>
    one.runner === undefined ? metadata["TRIGGER_RUN_ID"] === one.runId : name === one.runner;
  return isOver(one) ? undefined : instances.find((instance) => instance.state !== "gone" && isIts(instance));
}

/** Sandboxes that no run is in: they wait for another one, for a while. */
export function idleOf({ watched, instances }: Pick<Sample, "watched" | "instances">): InstanceView[] {
  const busy = new Set(watched.flatMap((one) => sandboxOf(one, instances)?.name ?? []));
  return instances.filter(({ name, state }) => state === "running" && !busy.has(name));
}

/** The frozen sandbox is destroyed after the engine has accepted the sleep, not before (L5): that takes some tens of ms, on a busy machine more. */
const DESTROYED_WITHIN_MS = 1_000;

/** Notes how many processes each sleeping run has. */
export function noteProcesses({ watched, instances }: Sample, nowMs: number): void {
  for (const one of watched) {
    if (one.asleepSinceMs === undefined || nowMs - one.asleepSinceMs < DESTROYED_WITHIN_MS) continue;
    const count = instances
      .filter(({ name, state }) => name === one.runner && state !== "gone")
      .reduce((sum, { processCount }) => sum + (processCount ?? 1), 0);
    one.processesAsleep = Math.max(one.processesAsleep, count);
  }
}
