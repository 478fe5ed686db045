import { triggerCli } from "@torpor/contracts";
import type { EngineForEnvironment } from "@torpor/engine";
import type { Mounted } from "@torpor/http";
import { mount } from "../auth/callers.ts";
import type { Identities } from "../auth/identities.ts";
import type { Origins } from "../origins.ts";
import { found } from "../refusal.ts";
import { isOwn, notThisKeys } from "./envVars.ts";

export interface TriggerCliDeps {
  readonly engine: Pick<EngineForEnvironment, "getEnvVars">;
  readonly identities: Identities;
  readonly origins: Pick<Origins, "api">;
}

/** What the Trigger.dev CLI asks before it has built anything; its access token is a key of the environment. */
export function triggerCliRoutes({ engine, identities, origins }: TriggerCliDeps): Mounted[] {
  return [
    // The CLI wants an address of mail; there are no people here, so it gets one that cannot exist.
    mount(triggerCli.whoami, async ({ caller }) => ({
      userId: caller.env.id,
      email: `${caller.env.slug}@${caller.env.project.slug}.invalid`,
      dashboardUrl: origins.api,
    })),
    mount(triggerCli.projectEnvironment, async ({ params, caller }) => {
      const { env } = caller;
      if (!isOwn(env, params.projectRef, params.env)) notThisKeys(params.projectRef, params.env);
      return { apiKey: await identities.apiKeyOf(env.id), name: env.project.name, apiUrl: origins.api, projectId: env.project.id };
    }),
    mount(triggerCli.deploySettings, async ({ params, caller }) => {
      if (!isOwn(caller.env, params.projectRef, params.env)) notThisKeys(params.projectRef, params.env);
      return { build_path: "depot" as const };
    }),
    mount(triggerCli.variables, async ({ params, caller }) => {
      found(params.projectRef === caller.env.project.ref ? true : null, "project", params.projectRef);
      return { variables: { ...(await engine.getEnvVars(caller.env)) } };
    }),
  ];
}
