import type { SdkCaller } from "./callers.ts";
import type { Identities } from "./identities.ts";
import { signPublicToken, type PublicTokenOptions } from "./publicToken.ts";

/**
 * Headers by which the SDK gets a public token for what it has just made: callers with a secret key are told the claims and
 * sign by themselves (it spares us the work on every trigger); browsers cannot sign and are given the token.
 */
export class TokenHeaders {
  readonly #identities: Identities;

  constructor(identities: Identities) {
    this.#identities = identities;
  }

  async for(caller: SdkCaller, options: PublicTokenOptions): Promise<Record<string, string>> {
    const { env, token } = caller;
    if (token === null) return { "x-trigger-jwt-claims": JSON.stringify({ sub: env.id, pub: true }) };
    return { "x-trigger-jwt": await signPublicToken(env.id, await this.#identities.apiKeyOf(env.id), options) };
  }
}
