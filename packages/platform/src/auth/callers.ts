import type { IncomingHttpHeaders } from "node:http";
import { TorporError, WORKER_HEADERS } from "@torpor/contracts";
import type { EnvironmentRef, WorkerRef } from "@torpor/engine";
import { mounter, type Authenticators } from "@torpor/http";
import type { Clock, Secret } from "@torpor/kernel";
import type { Identities, WorkerGroup } from "./identities.ts";
import { claimedEnvironmentId, looksLikeToken, verifyPublicToken, type PublicToken } from "./publicToken.ts";

/** Someone who uses the SDK: with a secret key, or with a public token that allows less. */
export interface SdkCaller {
  readonly env: EnvironmentRef;
  readonly token: PublicToken | null;
}

/** A node. */
export interface WorkerCaller {
  readonly ref: WorkerRef;
  readonly group: WorkerGroup;
  /** Set when the node has proof of the environment of the sandbox it speaks for: nothing of others is shown. */
  readonly scope: { readonly environmentId?: string };
}

export interface PlatformCallers {
  readonly environment: SdkCaller;
  readonly environment_or_public: SdkCaller;
  readonly worker: WorkerCaller;
  readonly admin: Record<never, never>;
}

export const mount = mounter<PlatformCallers>();

export interface AuthOptions {
  readonly identities: Identities;
  readonly managedSecret: Secret;
  /** Without it nobody is an operator. */
  readonly adminToken: Secret | null;
  readonly clock: Clock;
}

export function authenticators(options: AuthOptions): Authenticators<PlatformCallers> {
  return {
    environment: async ({ headers }) => ({ env: await secretKeyHolder(bearer(headers), options), token: null }),
    environment_or_public: async ({ headers }) => {
      const credential = bearer(headers);
      return looksLikeToken(credential)
        ? publicCaller(credential, options)
        : { env: await secretKeyHolder(credential, options), token: null };
    },
    worker: ({ headers }) => workerCaller(headers, options),
    admin: async ({ headers }) => {
      if (options.adminToken === null || !options.adminToken.matches(bearer(headers)))
        throw refused("the admin token is not the right one");
      return {};
    },
  };
}

/** A node, by the token of its worker group, the managed secret, and a name of its own. Also for sockets. */
export async function workerCaller(
  headers: IncomingHttpHeaders,
  options: Pick<AuthOptions, "identities" | "managedSecret">,
): Promise<WorkerCaller> {
  const group = await options.identities.workerGroupByToken(bearer(headers));
  const secret = text(headers[WORKER_HEADERS.managedSecret]);
  const rightSecret = options.managedSecret.matches(secret ?? "");
  if (group === null || !rightSecret) throw refused("the worker token or the managed secret is not the right one");
  const instanceName = text(headers[WORKER_HEADERS.instanceName]);
  if (instanceName === undefined || instanceName.length > 200)
    throw refused(`${WORKER_HEADERS.instanceName} must name this supervisor in 1-200 characters`);
  const runnerId = text(headers[WORKER_HEADERS.runnerId])?.slice(0, 200);
  const environmentId = text(headers[WORKER_HEADERS.environmentId]);
  return {
    group,
    ref: { workerGroupId: group.id, instanceName, ...(runnerId === undefined ? {} : { runnerId }) },
    scope: environmentId === undefined ? {} : { environmentId },
  };
}

async function secretKeyHolder(apiKey: string, { identities }: AuthOptions): Promise<EnvironmentRef> {
  const env = await identities.environmentByApiKey(apiKey);
  if (env === null) throw refused("no environment has this key");
  return env;
}

async function publicCaller(token: string, { identities, clock }: AuthOptions): Promise<SdkCaller> {
  const environmentId = claimedEnvironmentId(token);
  const env = environmentId === undefined ? null : await identities.environmentById(environmentId);
  if (env === null) throw refused("the public token is not valid");
  return { env, token: await verifyPublicToken(token, await identities.apiKeyOf(env.id), clock.nowMs()) };
}

function bearer(headers: IncomingHttpHeaders): string {
  const match = /^Bearer (\S{1,16384})$/i.exec(headers.authorization ?? "");
  if (match?.[1] === undefined) throw refused('the header "authorization: Bearer …" is missing');
  return match[1];
}

function text(header: string | string[] | undefined): string | undefined {
  const value = Array.isArray(header) ? header[0] : header;
  return value === "" ? undefined : value;
}

function refused(why: string): TorporError {
  return new TorporError("unauthenticated", `Cannot authenticate: ${why}`);
}
