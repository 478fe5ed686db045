import { describe, expect, it } from "vitest";
import { planeIdOf, readGatewayConfig } from "./config.ts";

const token = { COMPUTE_GATEWAY_AUTH_TOKEN: "a-token-for-tests-0123" };

describe("the gateway's settings", () => {
  it.each([
    [{}, "COMPUTE_GATEWAY_AUTH_TOKEN: must be set"],
    [{ COMPUTE_GATEWAY_AUTH_TOKEN: "short" }, "COMPUTE_GATEWAY_AUTH_TOKEN: must have at least 16"],
    [{ ...token, TORPOR_GATEWAY_PORT: "many" }, "TORPOR_GATEWAY_PORT"],
    [{ ...token, TORPOR_GATEWAY_DRIVER: "docker" }, "TORPOR_GATEWAY_DRIVER"],
    [{ ...token, TORPOR_GATEWAY_PLANE: "Far too long" }, "TORPOR_GATEWAY_PLANE: must be 1 to 6"],
    [{ ...token, TORPOR_GATEWAY_SERVICES: "8020" }, "TORPOR_GATEWAY_SERVICES: must be guestPort=host:port, and 8020 is not"],
    [{ ...token, TORPOR_GATEWAY_SERVICES: "80=127.0.0.1:1" }, "port 80 is taken"],
    [{ ...token, TORPOR_GATEWAY_HOLD_MS: "5" }, "TORPOR_GATEWAY_HOLD_MS"],
  ])("that are wrong are refused by name: %j", (env, message) => {
    expect(() => readGatewayConfig(env)).toThrow(message);
  });

  it("have defaults that reach nothing outside and listen on loopback", () => {
    expect(readGatewayConfig(token)).toMatchObject({
      listen: { host: "127.0.0.1", port: 8090 },
      driver: "gvisor",
      egress: "none",
      services: [],
      onExit: "keep",
    });
  });

  it("name services by the port that sandboxes use", () => {
    const { services } = readGatewayConfig({ ...token, TORPOR_GATEWAY_SERVICES: "8020=127.0.0.1:9001, 3030=platform.internal:3030" });
    expect(services).toEqual([
      { guestPort: 8020, host: "127.0.0.1", port: 9001 },
      { guestPort: 3030, host: "platform.internal", port: 3030 },
    ]);
  });

  it("treat an empty value as none", () => {
    expect(readGatewayConfig({ ...token, TORPOR_GATEWAY_PORT: "" }).listen.port).toBe(8090);
  });

  it("do not show the token when they are printed", () => {
    expect(JSON.stringify(readGatewayConfig(token))).not.toContain(token.COMPUTE_GATEWAY_AUTH_TOKEN);
  });

  it("give one plane one name, and two planes two", () => {
    expect(planeIdOf("/a/.torpor")).toBe(planeIdOf("/a/.torpor"));
    expect(planeIdOf("/a/.torpor")).not.toBe(planeIdOf("/b/.torpor"));
    expect(planeIdOf("/a")).toMatch(/^[a-z0-9]{6}$/);
  });
});
