// Boots a sandbox that becomes a template and saves it. It is no instance: it has no name, nobody is told of it, and when this
// process dies meanwhile the next one finds a sandbox that nobody knows, and destroys it.
import { READY_LINE, REFUSED_LINE, ROLE_VARIABLE } from "@torpor/image";
import { gibToBytes, newIdBody, sleep } from "@torpor/kernel";
import type { Core } from "../core.ts";
import type { SandboxId, SandboxImage } from "../drivers/driver.ts";
import type { TemplateFiles } from "./templateFiles.ts";
import type { Machine } from "./templateKey.ts";

/** On a busy machine; an idle one needs 1.5 s. */
const READY_WITHIN_MS = 120_000;
const LOOK_EVERY_MS = 50;
/** Runs come first: under load a template that is made gets no more than this. */
const MAX_CPU = 0.25;

export interface TemplateRequest {
  readonly key: string;
  readonly image: SandboxImage;
  readonly machine: Machine;
}

type MakerCore = Pick<Core, "clock" | "random" | "driver" | "log">;

/** Makes a template's files. Throws, with the reason, when there will be none; then nothing of it is left. */
export async function makeTemplate(core: MakerCore, files: TemplateFiles, request: TemplateRequest, signal: AbortSignal): Promise<void> {
  const { clock, log } = core;
  const { key, image, machine } = request;
  const startedMs = clock.monotonicMs();
  try {
    await saveTemplate(core, request, await files.begin(key), signal);
    const tookMs = clock.monotonicMs() - startedMs;
    await files.complete(key, {
      imageDigest: image.digest,
      cpu: machine.cpu,
      memoryGb: machine.memoryGb,
      createdAtMs: clock.nowMs(),
      tookMs,
    });
    log.info({ template: key, image: image.digest, ...machine, durationMs: Math.round(tookMs) }, "a template was made");
  } catch (error) {
    await files.giveUp(key);
    throw error;
  }
}

async function saveTemplate(core: MakerCore, request: TemplateRequest, dir: string, signal: AbortSignal): Promise<void> {
  const { driver, clock, random } = core;
  const { image, machine } = request;
  const id = `tpl${newIdBody(clock.nowMs(), random)}`;
  try {
    const started = await driver.create({
      id,
      image,
      env: { [ROLE_VARIABLE]: "controller", TRIGGER_MACHINE_CPU: String(machine.cpu), TRIGGER_MACHINE_MEMORY: String(machine.memoryGb) },
      cpu: Math.min(machine.cpu, MAX_CPU),
      memoryBytes: gibToBytes(machine.memoryGb),
      metadata: {},
    });
    if (started.kind !== "started") throw new Error(`it did not start: ${started.message}`);
    await untilReady(core, id, signal);
    const frozen = await driver.freeze(id);
    if (frozen.kind !== "frozen") throw new Error(`it was not frozen: ${frozen.kind === "gone" ? "it ended" : frozen.message}`);
    const saved = await driver.save(id, dir, signal);
    if (saved.kind !== "saved") throw new Error(`it was not saved: ${saved.kind === "canceled" ? "canceled" : saved.message}`);
  } finally {
    await driver.destroy(id);
  }
}

/** The sandbox says so itself, on its standard output. */
async function untilReady({ driver, clock }: MakerCore, id: SandboxId, signal: AbortSignal): Promise<void> {
  const untilMs = clock.monotonicMs() + READY_WITHIN_MS;
  for (;;) {
    const output = (await driver.output?.(id)) ?? "";
    if (output.includes(READY_LINE)) return;
    const refusal = output.split("\n").find((line) => line.startsWith(REFUSED_LINE));
    if (refusal !== undefined) throw new Error(refusal.slice(REFUSED_LINE.length).trim());
    if (clock.monotonicMs() > untilMs) throw new Error(`it was not ready within ${READY_WITHIN_MS / 1000} s`);
    if ((await sleep(clock, LOOK_EVERY_MS, signal)) === "aborted") throw new Error("this gateway is stopping");
  }
}
