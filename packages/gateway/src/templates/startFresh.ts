// Starts a sandbox that has no memory of its own: as a clone where there is a template, else from its image.
import type { Core } from "../core.ts";
import type { SandboxSpec, StartOutcome } from "../drivers/driver.ts";
import type { Machine } from "./templateKey.ts";
import type { ColdReason, Templates } from "./templates.ts";

export interface FreshStart {
  readonly outcome: StartOutcome;
  readonly start: "clone" | "cold";
  /** Why it is no clone. */
  readonly start_reason?: ColdReason;
}

/** Whatever is wrong with a template, the sandbox starts: a clone that certainly did not run is followed by a cold boot. */
export async function startFresh(core: Core, templates: Templates, spec: SandboxSpec, machine: Machine): Promise<FreshStart> {
  const template = await templates.find(spec.image, machine);
  if (template.kind === "ready") {
    const outcome = await clone(core, templates, spec, template.key);
    if (outcome !== undefined) return { outcome, start: "clone" };
  }
  const outcome = await core.driver.create(spec);
  if (outcome.kind === "started") templates.want(spec.image, machine);
  return { outcome, start: "cold", start_reason: template.kind === "none" ? template.reason : "clone_failed" };
}

/** Undefined: it did not run and nothing is left of it, because of the template. */
async function clone({ driver }: Core, templates: Templates, spec: SandboxSpec, key: string): Promise<StartOutcome | undefined> {
  const prepared = await driver.prepare(spec);
  if (prepared.kind === "refused") return prepared; // not the template's fault: a cold boot would fail in the same way
  const outcome = await templates.restore(key, (dir) => driver.restore(spec.id, dir));
  if (outcome === undefined) {
    await driver.destroy(spec.id);
    return undefined;
  }
  if (outcome.kind === "started") return outcome;
  await templates.distrust(key, outcome.message);
  return outcome.kind === "refused" ? undefined : outcome;
}
