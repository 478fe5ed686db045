import { sdkAuth } from "@torpor/contracts";
import type { Mounted } from "@torpor/http";
import { mount } from "../auth/callers.ts";
import type { Identities } from "../auth/identities.ts";
import { signPublicToken } from "../auth/publicToken.ts";
import { given } from "../given.ts";

/** Public tokens: the claims for SDKs that sign by themselves, and tokens signed here. */
export function authRoutes(deps: { readonly identities: Identities }): Mounted[] {
  return [
    mount(sdkAuth.claims, async ({ caller }) => ({ sub: caller.env.id, pub: true as const })),
    mount(sdkAuth.getClaims, async ({ caller }) => ({ sub: caller.env.id, pub: true as const })),
    mount(sdkAuth.createPublicToken, async ({ body, caller }) => {
      const { scopes, expirationTime, oneTimeUse, realtime } = body;
      const options = { scopes, ...given({ expirationTime, oneTimeUse, realtime }) };
      return { token: await signPublicToken(caller.env.id, await deps.identities.apiKeyOf(caller.env.id), options) };
    }),
  ];
}
