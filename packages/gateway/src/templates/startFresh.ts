// Starts a sandbox that has no memory of its own: as a clone where there is a template, else from its image.
import type { Core } from "../core.ts";
import type { SandboxSpec, StartOutcome } from "../drivers/driver.ts";
import type { Spare } from "./spares.ts";
import type { Machine } from "./templateKey.ts";
import type { ColdReason, Templates } from "./templates.ts";

export interface FreshStart {
  readonly outcome: StartOutcome;
  readonly start: "clone" | "cold";
  /** Why it is no clone. */
  readonly start_reason?: ColdReason;
}

/** What starts; `spare`, if there is one, has its id. */
export interface Fresh {
  readonly spec: SandboxSpec;
  readonly machine: Machine;
  readonly spare: Spare | undefined;
}

/** Whatever is wrong with a spare or a template, the sandbox starts: a clone that certainly did not run is followed by a cold boot. */
export async function startFresh(core: Core, templates: Templates, { spec, machine, spare }: Fresh): Promise<FreshStart> {
  spare?.use();
  if (spare?.stage === "cloned") {
    const outcome = await core.driver.assign(spec);
    if (outcome.kind !== "refused") return { outcome, start: "clone" };
    core.log.warn({ sandbox: spec.id, reason: outcome.message }, "a spare sandbox is of no use");
    await core.driver.destroy(spec.id);
  }
  const isPrepared = spare?.stage === "prepared";
  const template = await templates.find(spec.image, machine);
  if (template.kind === "ready") {
    const outcome = await clone(core, templates, { spec, isPrepared, key: template.key });
    if (outcome !== undefined) return { outcome, start: "clone" };
  } else if (isPrepared) await core.driver.destroy(spec.id);
  const outcome = await core.driver.create(spec);
  if (outcome.kind === "started") templates.want(spec.image, machine);
  return { outcome, start: "cold", start_reason: template.kind === "none" ? template.reason : "clone_failed" };
}

interface Cloning {
  readonly spec: SandboxSpec;
  readonly key: string;
  /** A spare: it asks for its environment when it runs. */
  readonly isPrepared: boolean;
}

/** Undefined: it did not run and nothing is left of it, because of the template. */
async function clone({ driver }: Core, templates: Templates, { spec, key, isPrepared }: Cloning): Promise<StartOutcome | undefined> {
  const prepared = isPrepared ? ({ kind: "prepared" } as const) : await driver.prepare(spec);
  if (prepared.kind === "refused") return prepared; // not the template's fault: a cold boot would fail in the same way
  const outcome = await templates.restore(key, async (dir) => {
    const restored = await driver.restore(spec.id, dir);
    return isPrepared && restored.kind === "started" ? await assigned(driver.assign(spec), restored.timingMs) : restored;
  });
  if (outcome?.kind === "started") return outcome;
  if (outcome !== undefined) await templates.distrust(key, outcome.message);
  if (outcome?.kind === "unknown") return outcome;
  await driver.destroy(spec.id);
  return undefined;
}

async function assigned(assigning: Promise<StartOutcome>, timingMs: Readonly<Record<string, number>>): Promise<StartOutcome> {
  const outcome = await assigning;
  return outcome.kind === "started" ? { ...outcome, timingMs: { ...timingMs, ...outcome.timingMs } } : outcome;
}
