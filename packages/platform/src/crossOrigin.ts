import type { Mounted } from "@torpor/http";
import type { FastifyInstance } from "fastify";

const ALLOW = {
  "access-control-allow-origin": "*",
  "access-control-allow-headers": "*, authorization, content-type",
  "access-control-allow-methods": "GET, POST, PUT, DELETE, OPTIONS",
  "access-control-expose-headers": "x-trigger-jwt, x-trigger-jwt-claims, x-should-retry",
  "access-control-max-age": "86400",
} as const;

/** Lets browsers of any site call the routes that take a public token: the token is the permission, there are no cookies. */
export function allowBrowsers(app: FastifyInstance, routes: readonly Mounted[]): void {
  const paths = new Set(routes.filter(({ route }) => route.auth === "environment_or_public").map(({ route }) => route.path));
  app.addHook("onRequest", async (request, reply) => {
    if (paths.has(request.routeOptions.url ?? "")) void reply.headers(ALLOW);
  });
  for (const path of paths) app.options(path, async (_request, reply) => reply.code(204).send());
}
