import { randomText } from "@torpor/kernel";
import type { EnvironmentRef, EnvironmentType } from "../api.ts";
import { newId } from "../domain/ids.ts";
import { lookupHash, seal, unseal } from "../domain/sealing.ts";
import * as projects from "../sql/projects.ts";
import { now, type Core } from "./core.ts";

const ENVIRONMENTS: readonly { readonly slug: string; readonly type: EnvironmentType; readonly keyPrefix: string }[] = [
  { slug: "prod", type: "PRODUCTION", keyPrefix: "tr_prod_" },
  { slug: "stg", type: "STAGING", keyPrefix: "tr_stg_" },
  { slug: "dev", type: "DEVELOPMENT", keyPrefix: "tr_dev_" },
  { slug: "preview", type: "PREVIEW", keyPrefix: "tr_preview_" },
];
const KEY_LENGTH = 24;

/** Who keeps the keys that encrypt what is secret at rest. */
export interface Vault {
  readonly key: Buffer;
}

export type KeyedEnvironment = EnvironmentRef & { readonly apiKey: string };

/** Makes a project with its environments, or answers the one that is there. */
export async function ensureProject(
  core: Core,
  vault: Vault,
  project: { readonly ref: string; readonly name?: string },
): Promise<{ readonly environments: readonly KeyedEnvironment[] }> {
  return core.db.transaction(async (tx) => {
    await projects.lockProjectRef(tx, project.ref);
    let stored = await projects.environmentsOfProject(tx, project.ref);
    if (stored.length === 0) {
      const nowMs = now(core).getTime();
      const name = project.name ?? project.ref;
      const organizationId = await projects.insertOrganization(tx, { id: newId(nowMs, core.random), slug: "default", name: "Default" });
      const projectId = newId(nowMs, core.random);
      await projects.insertProject(tx, { id: projectId, organizationId, ref: project.ref, slug: project.ref, name });
      for (const { slug, type, keyPrefix } of ENVIRONMENTS) {
        const apiKey = keyPrefix + randomText(core.random, KEY_LENGTH);
        await projects.insertEnvironment(tx, {
          id: newId(nowMs, core.random),
          projectId,
          slug,
          type,
          keyHash: lookupHash(apiKey),
          keyCipher: seal(vault.key, apiKey, core.random),
        });
      }
      stored = await projects.environmentsOfProject(tx, project.ref);
    }
    return { environments: stored.map((environment) => ({ ...environment.ref, apiKey: unseal(vault.key, environment.apiKeyCipher) })) };
  });
}

export async function environmentByApiKey(core: Core, apiKey: string): Promise<EnvironmentRef | null> {
  return (await projects.environmentByKeyHash(core.db, lookupHash(apiKey)))?.ref ?? null;
}

export async function environmentById(core: Core, environmentId: string): Promise<EnvironmentRef | null> {
  return (await projects.environmentById(core.db, environmentId))?.ref ?? null;
}

export async function apiKeyOf(core: Core, vault: Vault, environmentId: string): Promise<string> {
  const stored = await projects.environmentById(core.db, environmentId);
  if (stored === undefined) throw new Error(`Cannot find environment ${environmentId}`);
  return unseal(vault.key, stored.apiKeyCipher);
}

export async function setEnvVars(
  core: Core,
  vault: Vault,
  env: EnvironmentRef,
  variables: Readonly<Record<string, string>>,
  override: boolean,
): Promise<void> {
  const sealed = Object.entries(variables).map(([name, value]) => [name, seal(vault.key, value, core.random)] as const);
  await projects.setEnvVars(core.db, env.id, sealed, override);
}

export async function getEnvVars(core: Core, vault: Vault, env: EnvironmentRef): Promise<Readonly<Record<string, string>>> {
  const rows = await projects.getEnvVars(core.db, env.id);
  return Object.fromEntries(rows.map((row) => [row.name, unseal(vault.key, row.value_cipher)]));
}
