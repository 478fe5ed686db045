import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { DEFAULT_MACHINE, gateway, MACHINES, sdkRuns } from "@torpor/contracts";
import { RouteClient } from "@torpor/http";
import type { Image } from "@torpor/image";
import { sleep, systemClock } from "@torpor/kernel";
import type { Command, CommandContext } from "../command.ts";
import { flagOption, textOption } from "../command.ts";
import { environmentKey, unwrap } from "../connection.ts";
import { paceOf, storyFor, type StoryRun } from "../demo/story.ts";
import { figuresOf, liveLines, resultLines, type RunFigures } from "../demo/view.ts";
import { isOver, look, noteProcesses, watch, type Watched } from "../demo/watch.ts";
import { CommandFailure, EXIT, type ExitCode } from "../exitCodes.ts";
import { writeLastProject } from "../plane/dataDir.ts";
import { leftoversOf } from "../plane/leftovers.ts";
import { startPlane, type Plane } from "../plane/plane.ts";
import { removePlane } from "../plane/removePlane.ts";
import { prepareMachine, type PreparedMachine } from "../setup/prepareMachine.ts";
import { showMs } from "../terminal/table.ts";
import { buildProject, registerImage } from "./deploy.ts";
import { partEnvironment } from "./partEnvironment.ts";
import { gatewayClient } from "./status.ts";
import { chooseDriver, untilAborted } from "./up.ts";

const LOOK_EVERY_MS = 200;
/** The story takes about half a minute; on a machine that is busy with something else, up to five times that. */
const STORY_LIMIT_MS = 300_000;
/** It takes 2 s; a gateway gives one up after two minutes. */
const BOOT_LIMIT_MS = 130_000;
const IMAGES_GONE_WITHIN_MS = 20_000;
/** Runs of the demo sleep sooner than the 5 s of an ordinary plane, so that the short naps of the children sleep too. */
const DEMO_SNAPSHOT_DELAY_MS = "1000";

/** Shows the main thing on this machine: tasks fall asleep, no process is left, and they wake to the very line. */
export const demo: Command = {
  name: "demo",
  summary: "see it work: deploys examples/nap to a plane of its own, runs its tasks, cleans up",
  options: [
    { flags: "--keep", description: "leave the plane running afterwards, until Ctrl-C" },
    { flags: "--driver <driver>", description: "gvisor or process" },
    { flags: "--no-install", description: "do not install system packages and do not build runsc" },
  ],
  async run(context, input) {
    const machine = await prepareMachine(context, { mayInstall: input.options["install"] !== false });
    const driver = chooseDriver(machine, textOption(input, "driver"));
    const dataDir = makeScratch(context);
    let planeId: string | undefined;
    try {
      const plane = await startDemoPlane(context, { dataDir, driver, machine });
      planeId = plane.file.planeId;
      try {
        const code = await tellStory(context, plane, driver);
        if (flagOption(input, "keep")) await keepRunning(context, plane);
        return code;
      } finally {
        context.terminal.progress("stopping");
        await plane.close();
      }
    } finally {
      if (planeId !== undefined) await removePlane({ planeId, dataDir, env: machine.env });
      rmSync(dataDir, { recursive: true, force: true });
      if (planeId !== undefined) await sayLeftovers(context, planeId);
    }
  },
};

function makeScratch({ stateDir }: CommandContext): string {
  mkdirSync(stateDir, { recursive: true });
  return mkdtempSync(join(stateDir, "demo-"));
}

async function startDemoPlane(
  context: CommandContext,
  options: { dataDir: string; driver: "gvisor" | "process"; machine: PreparedMachine },
): Promise<Plane> {
  const { terminal } = context;
  const [missing] = options.machine.missing;
  if (options.driver === "process")
    terminal.progress(
      `without sandboxes here, waits stay in memory${missing === undefined ? "" : `: ${missing.message} (${missing.hint})`}`,
    );
  return await startPlane({
    dataDir: options.dataDir,
    driver: options.driver,
    repoDir: context.repoDir,
    stateDir: context.stateDir,
    env: { COMPUTE_SNAPSHOT_DELAY_MS: DEMO_SNAPSHOT_DELAY_MS, ...partEnvironment(context.env), ...options.machine.env },
    onProgress: (text) => terminal.progress(text),
    onUnexpectedExit: (part, how) => terminal.error(`${part} ended (${how})`, `see ${options.dataDir}/logs/${part}.log`),
  });
}

async function tellStory(context: CommandContext, plane: Plane, driver: "gvisor" | "process"): Promise<ExitCode> {
  const { terminal } = context;
  const stored = await buildProject(context, join(context.repoDir, "examples/nap"));
  const apiKey = await environmentKey(plane.file, stored.image.projectRef, "prod");
  const { version } = await registerImage({ apiUrl: plane.file.apiUrl, apiKey, stored });
  writeLastProject(plane.dataDir, stored.image.projectRef);
  terminal.progress(`deployed ${stored.image.projectRef} ${version}`);
  const sdk = new RouteClient({
    baseUrl: plane.file.apiUrl,
    timeoutMs: 30_000,
    headers: () => ({ authorization: `Bearer ${apiKey}`, "x-trigger-api-version": "2025-07-16" }),
  });
  const node = gatewayClient(plane.file);
  try {
    const slept = driver === "gvisor";
    const story = storyFor(paceOf(await bootOnce(context, node, stored.image)));
    const watched = await triggerStory(sdk, story);
    await watchStory(context, { sdk, node, watched, sleeps: slept });
    const figures = await gatherFigures(sdk, watched);
    return report(context, figures, { images: await imagesLeft(node), slept, story });
  } finally {
    await sdk.close();
    await node.close();
  }
}

/**
 * Every run of the story is then a clone of what has booted; where that cannot be made, runs boot themselves. Answers how long it took,
 * which tells how busy the machine is.
 */
async function bootOnce({ terminal }: CommandContext, node: RouteClient, image: Image): Promise<number | undefined> {
  const { imageReference } = await import("@torpor/image");
  const { cpu, memory } = MACHINES[DEFAULT_MACHINE];
  const startedMs = systemClock.monotonicMs();
  const body = { image: imageReference(image), machine_configs: [{ cpu, memory_gb: memory }] };
  const made = await node.call(gateway.createTemplate, { body, timeoutMs: BOOT_LIMIT_MS });
  if (made.kind !== "ok" || made.body?.error !== undefined) return undefined;
  const tookMs = systemClock.monotonicMs() - startedMs;
  const isBusy = paceOf(tookMs) > 1;
  terminal.progress(
    `booted it once, in ${showMs(tookMs)}: runs are cloned from that${isBusy ? "; this machine is busy, so naps are longer" : ""}`,
  );
  return tookMs;
}

async function triggerStory(sdk: RouteClient, all: readonly StoryRun[]): Promise<Watched[]> {
  const watched: Watched[] = [];
  for (const story of all) {
    const body = { payload: story.payload };
    const { id } = unwrap(await sdk.call(sdkRuns.trigger, { params: { taskId: story.task }, body }));
    watched.push(watch(id, story.label, story));
  }
  return watched;
}

async function watchStory(
  { terminal, signal }: CommandContext,
  { sdk, node, watched, sleeps }: { sdk: RouteClient; node: RouteClient; watched: Watched[]; sleeps: boolean },
): Promise<void> {
  const startedMs = systemClock.monotonicMs();
  for (;;) {
    const nowMs = systemClock.monotonicMs();
    const sample = await look({ sdk, node, sleeps }, watched, nowMs);
    noteProcesses(sample, nowMs);
    terminal.draw(liveLines(terminal, sample, nowMs - startedMs));
    if (watched.every(isOver)) break;
    if (nowMs - startedMs > STORY_LIMIT_MS)
      throw new CommandFailure(
        EXIT.failed,
        `Cannot finish the demo: after ${showMs(STORY_LIMIT_MS)} these runs still go on: ${watched
          .filter((one) => !isOver(one))
          .map(({ runId }) => runId)
          .join(", ")}`,
      );
    if ((await sleep(systemClock, LOOK_EVERY_MS, signal)) === "aborted") throw new CommandFailure(EXIT.failed, "Stopped before the end");
  }
  terminal.endDrawing();
}

async function gatherFigures(sdk: RouteClient, watched: readonly Watched[]): Promise<RunFigures[]> {
  const figures: RunFigures[] = [];
  for (const one of watched) {
    const run = unwrap(await sdk.call(sdkRuns.retrieve, { params: { runId: one.runId } }));
    const { events } = unwrap(await sdk.call(sdkRuns.timeline, { params: { runId: one.runId } }));
    figures.push(figuresOf({ watched: one, run, timeline: events }));
  }
  return figures;
}

/** Memory images that are still there some seconds after the last run has ended: there must be none (L7). */
async function imagesLeft(node: RouteClient): Promise<number> {
  const deadlineMs = systemClock.monotonicMs() + IMAGES_GONE_WITHIN_MS;
  for (;;) {
    const { snapshots } = unwrap(await node.call(gateway.listSnapshots));
    if (snapshots.length === 0 || systemClock.monotonicMs() > deadlineMs) return snapshots.length;
    await sleep(systemClock, LOOK_EVERY_MS);
  }
}

function report(
  { terminal }: CommandContext,
  figures: readonly RunFigures[],
  { images, slept, story }: { images: number; slept: boolean; story: readonly StoryRun[] },
): ExitCode {
  terminal.line("");
  for (const line of resultLines(terminal, figures)) terminal.line(line);
  terminal.line("");
  if (slept) for (const { label, proves } of story) terminal.line(terminal.paint("dim", `${label.padEnd(10)} ${proves}`));
  else terminal.line("Nothing slept: without sandboxes waits stay in memory. ./torpor doctor says what is missing.");
  const problems = figures.flatMap((one) => problemsOf(one, slept));
  if (images > 0) problems.push(`${images} memory images are still on disk although no run sleeps`);
  terminal.value({ runs: figures, problems });
  for (const problem of problems) terminal.error(problem);
  return problems.length === 0 ? EXIT.ok : EXIT.failed;
}

/** What is not as the demo promises. */
function problemsOf(one: RunFigures, slept: boolean): string[] {
  const problems: string[] = [];
  if (!one.ok) problems.push(`${one.label} (${one.runId}) ended ${one.status}`);
  if (slept && one.label !== "flaky" && one.sleeps === 0) problems.push(`${one.label} (${one.runId}) never slept`);
  if ((one.processesAsleep ?? 0) > 0) problems.push(`${one.label} (${one.runId}) had ${one.processesAsleep} processes while it slept`);
  return problems;
}

async function keepRunning({ terminal, signal }: CommandContext, plane: Plane): Promise<void> {
  terminal.line("");
  terminal.line(`The plane goes on: ${terminal.paint("bold", plane.file.apiUrl)}`);
  terminal.line(`  use it    ./torpor trigger nap --wait --data-dir ${plane.dataDir}`);
  terminal.line("  stop it   Ctrl-C, which also removes everything");
  await untilAborted(signal);
}

async function sayLeftovers({ terminal }: CommandContext, planeId: string): Promise<void> {
  const left = await leftoversOf(planeId);
  if (left.length === 0) terminal.progress("left behind: no process, network namespace, interface, packet-filter table, mount or file");
  else for (const one of left) terminal.error(`left behind: ${one}`, "./torpor clean");
}
