// A deployment's token: what a sandbox is given as its deployment id, so that it cannot speak for another deployment.
import { createSecretKey } from "node:crypto";
import { jwtVerify, SignJWT } from "jose";
import type { Secret } from "@torpor/kernel";
import { z } from "zod";

const ISSUER = "https://id.trigger.dev";
const AUDIENCE = "https://api.trigger.dev";

export const DeploymentClaims = z.object({
  ver: z.literal(1),
  deployment: z.string(),
  deployment_version: z.string(),
  environment_id: z.string(),
  environment_type: z.string(),
  org_id: z.string(),
  project_id: z.string(),
});
export type DeploymentClaims = z.infer<typeof DeploymentClaims>;

/** Signs the claims. No issue time and a fixed end: the same deployment has the same token, which warm starts match by. */
export function signDeploymentToken(
  claims: DeploymentClaims,
  options: { readonly secret: Secret; readonly expiresAt: Date },
): Promise<string> {
  return new SignJWT(claims)
    .setProtectedHeader({ alg: "HS256" })
    .setIssuer(ISSUER)
    .setAudience(AUDIENCE)
    .setExpirationTime(options.expiresAt)
    .sign(createSecretKey(Buffer.from(options.secret.reveal())));
}

export type TokenVerdict =
  | { readonly kind: "valid"; readonly claims: DeploymentClaims }
  | { readonly kind: "bare_id" }
  | { readonly kind: "invalid"; readonly reason: string };

/** Reads what a runner shows. Anything that is not three parts joined by dots is a bare id, as old runners show it. */
export async function readDeploymentToken(text: string, secret: Secret): Promise<TokenVerdict> {
  if (text.split(".").length !== 3) return { kind: "bare_id" };
  try {
    const { payload } = await jwtVerify(text, createSecretKey(Buffer.from(secret.reveal())), {
      issuer: ISSUER,
      audience: AUDIENCE,
      algorithms: ["HS256"],
    });
    const claims = DeploymentClaims.safeParse(payload);
    return claims.success ? { kind: "valid", claims: claims.data } : { kind: "invalid", reason: "claims are missing" };
  } catch (error) {
    return { kind: "invalid", reason: error instanceof Error ? error.message : String(error) };
  }
}
