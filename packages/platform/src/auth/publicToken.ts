import { createHash } from "node:crypto";
import { TorporError } from "@torpor/contracts";
import { SignJWT, decodeJwt, errors, jwtVerify } from "jose";
import { z } from "zod";

// Public tokens: what a browser may hold. HS256 with the environment's secret key, as the SDK makes them by itself.

const ISSUER = "https://id.trigger.dev";
const AUDIENCE = "https://api.trigger.dev";
const DEFAULT_EXPIRATION = "15m";

const Claims = z.looseObject({
  pub: z.literal(true),
  /** The environment's id. */
  sub: z.string().max(128),
  scopes: z.array(z.string().max(512)).max(1000).optional(),
  /** One-time use: it works for one trigger. */
  otu: z.boolean().optional(),
  exp: z.number().optional(),
});

export interface PublicToken {
  readonly scopes: readonly string[];
  /** Set when the token is good for one call only: its name among used ones. */
  readonly oneTimeId: string | null;
  readonly expiresAt: Date;
}

export interface PublicTokenOptions {
  readonly scopes: readonly string[];
  /** Seconds since the epoch, or a span such as "1h". */
  readonly expirationTime?: number | string;
  readonly oneTimeUse?: boolean;
  readonly realtime?: Readonly<Record<string, unknown>>;
}

/** Three parts divided by dots; secret keys have none. */
export function looksLikeToken(text: string): boolean {
  return /^[\w-]+\.[\w-]+\.[\w-]+$/.test(text) && text.length <= 16 * 1024;
}

/** The environment that the token says it is of: a claim, until `verifyPublicToken` has checked it with that environment's key. */
export function claimedEnvironmentId(token: string): string | undefined {
  try {
    return Claims.safeParse(decodeJwt(token)).data?.sub;
  } catch {
    return undefined; // not a token: the caller answers 401 without telling why
  }
}

/** What the token allows, or `unauthenticated`. */
export async function verifyPublicToken(token: string, apiKey: string, nowMs: number): Promise<PublicToken> {
  try {
    const { payload } = await jwtVerify(token, new TextEncoder().encode(apiKey), {
      issuer: ISSUER,
      audience: AUDIENCE,
      algorithms: ["HS256"],
      currentDate: new Date(nowMs),
    });
    const claims = Claims.parse(payload);
    const expiresAt = new Date((claims.exp ?? nowMs / 1000 + 3600) * 1000);
    return {
      scopes: claims.scopes ?? [],
      oneTimeId: claims.otu === true ? createHash("sha256").update(token).digest("hex") : null,
      expiresAt,
    };
  } catch (error) {
    if (error instanceof errors.JWTExpired) throw new TorporError("unauthenticated", "Cannot authenticate: the public token has expired");
    if (error instanceof errors.JOSEError || error instanceof z.ZodError)
      throw new TorporError("unauthenticated", "Cannot authenticate: the public token is not valid");
    throw error;
  }
}

/** Makes a token. A span that cannot be read is refused as `request_unprocessable`. */
export async function signPublicToken(environmentId: string, apiKey: string, options: PublicTokenOptions): Promise<string> {
  const claims = {
    pub: true,
    sub: environmentId,
    scopes: options.scopes,
    ...(options.oneTimeUse === true ? { otu: true } : {}),
    ...(options.realtime === undefined ? {} : { realtime: options.realtime }),
  };
  const token = new SignJWT(claims).setIssuer(ISSUER).setAudience(AUDIENCE).setProtectedHeader({ alg: "HS256" }).setIssuedAt();
  try {
    token.setExpirationTime(options.expirationTime ?? DEFAULT_EXPIRATION);
  } catch (error) {
    throw new TorporError("request_unprocessable", `Cannot use expirationTime: ${JSON.stringify(options.expirationTime)} is not a time`, {
      param: "expirationTime",
      cause: error,
    });
  }
  return token.sign(new TextEncoder().encode(apiKey));
}
