import { TorporError, sdkEnvVars } from "@torpor/contracts";
import type { EngineForEnvironment, EnvironmentRef } from "@torpor/engine";
import type { Mounted } from "@torpor/http";
import { mount, type SdkCaller } from "../auth/callers.ts";
import { found } from "../refusal.ts";

export interface EnvVarDeps {
  readonly engine: Pick<EngineForEnvironment, "getEnvVars" | "setEnvVars" | "deleteEnvVar">;
}

export function envVarRoutes({ engine }: EnvVarDeps): Mounted[] {
  const success = { success: true };
  return [
    mount(sdkEnvVars.list, async ({ params, caller }) => {
      const variables = await engine.getEnvVars(own(caller, params));
      return Object.entries(variables).map(([name, value]) => ({ name, value, isSecret: false }));
    }),
    mount(sdkEnvVars.create, async ({ params, body, caller }) => {
      await engine.setEnvVars(own(caller, params), { [body.name]: body.value }, true);
      return success;
    }),
    mount(sdkEnvVars.import, async ({ params, body, caller }) => {
      await engine.setEnvVars(own(caller, params), body.variables, body.override ?? false);
      return success;
    }),
    mount(sdkEnvVars.get, async ({ params, caller }) => {
      const variables = await engine.getEnvVars(own(caller, params));
      return { name: params.name, value: found(variables[params.name], "environment variable", params.name), isSecret: false };
    }),
    mount(sdkEnvVars.update, async ({ params, body, caller }) => {
      const env = own(caller, params);
      found((await engine.getEnvVars(env))[params.name], "environment variable", params.name);
      await engine.setEnvVars(env, { [params.name]: body.value }, true);
      return success;
    }),
    mount(sdkEnvVars.delete, async ({ params, caller }) => {
      const wasThere = await engine.deleteEnvVar(own(caller, params), params.name);
      found(wasThere ? true : null, "environment variable", params.name);
      return success;
    }),
  ];
}

/** Other names under which SDKs and CLIs speak of an environment. */
const SLUGS: Readonly<Record<string, EnvironmentRef["type"]>> = {
  prod: "PRODUCTION",
  production: "PRODUCTION",
  stg: "STAGING",
  staging: "STAGING",
  dev: "DEVELOPMENT",
  development: "DEVELOPMENT",
  preview: "PREVIEW",
};

/** The environment of the key, when the address speaks of that one; a key opens no other. */
function own(caller: SdkCaller, { projectRef, slug }: { projectRef: string; slug: string }): EnvironmentRef {
  const { env } = caller;
  return isOwn(env, projectRef, slug) ? env : notThisKeys(projectRef, slug);
}

export function isOwn(env: EnvironmentRef, projectRef: string, slug: string): boolean {
  return env.project.ref === projectRef && (env.slug === slug || SLUGS[slug] === env.type);
}

export function notThisKeys(projectRef: string, slug: string): never {
  throw new TorporError(
    "not_found",
    `Cannot find environment ${JSON.stringify(slug)} of project ${JSON.stringify(projectRef)} with this key: use a key of that environment`,
  );
}
