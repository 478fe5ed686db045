import { generateJWT } from "@trigger.dev/core/v3/jwt";
import { describe, expect, it } from "vitest";
import { claimedEnvironmentId, looksLikeToken, signPublicToken, verifyPublicToken } from "./publicToken.ts";

const KEY = "tr_prod_0123456789abcdef";

describe("public tokens", () => {
  it("refuses a token that another key has signed", async () => {
    const token = await signPublicToken("env1", "tr_prod_another", { scopes: ["read"] });
    await expect(verifyPublicToken(token, KEY, Date.now())).rejects.toMatchObject({ code: "unauthenticated" });
  });

  it("refuses a token that is over, and says so", async () => {
    const token = await signPublicToken("env1", KEY, { scopes: ["read"], expirationTime: "1s" });
    await expect(verifyPublicToken(token, KEY, Date.now() + 5000)).rejects.toThrow("has expired");
  });

  it("refuses a token that says that it is not signed", async () => {
    const [, payload] = (await signPublicToken("env1", KEY, { scopes: ["read"] })).split(".");
    const header = Buffer.from('{"alg":"none"}').toString("base64url");
    await expect(verifyPublicToken(`${header}.${payload}.`, KEY, Date.now())).rejects.toMatchObject({ code: "unauthenticated" });
  });

  it("refuses a span that cannot be read", async () => {
    await expect(signPublicToken("env1", KEY, { scopes: ["read"], expirationTime: "soon" })).rejects.toMatchObject({
      code: "request_unprocessable",
      param: "expirationTime",
    });
  });

  it("takes tokens that the SDK makes by itself", async () => {
    const token = await generateJWT({ secretKey: KEY, payload: { sub: "env1", pub: true, scopes: ["read:runs:run_1"], otu: true } });
    expect(looksLikeToken(token)).toBe(true);
    expect(claimedEnvironmentId(token)).toBe("env1");
    expect(await verifyPublicToken(token, KEY, Date.now())).toMatchObject({
      scopes: ["read:runs:run_1"],
      oneTimeId: expect.stringMatching(/^[0-9a-f]{64}$/),
    });
  });

  it("does not take a secret key for a token", () => {
    expect(looksLikeToken(KEY)).toBe(false);
    expect(claimedEnvironmentId("a.b.c")).toBeUndefined();
  });
});
