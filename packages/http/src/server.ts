import type { Server as NodeServer } from "node:http";
import type { Socket } from "node:net";
import { TorporError, type Auth, type Route } from "@torpor/contracts";
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest, type RouteOptions } from "fastify";
import type { Closable } from "@torpor/kernel";
import { errorAnswer, validated } from "./errors.ts";
import { Answer, type Callers, type Mounted } from "./mount.ts";

/** What authentication sees of a request. */
export interface AuthRequest {
  readonly headers: FastifyRequest["headers"];
  readonly remoteAddress: string;
  readonly params: Readonly<Record<string, string>>;
  /** Present on routes whose body is read raw. */
  readonly rawBody: Buffer | undefined;
}

/** Finds who calls, or throws `unauthenticated`, `forbidden` or `not_found`. */
export type Authenticator<Caller> = (request: AuthRequest) => Promise<Caller>;

export type Authenticators<C extends Callers> = { readonly [A in keyof C]: Authenticator<C[A]> };

/** Where unforeseen errors and requests are told. */
export interface ServerLog {
  error(fields: Readonly<Record<string, unknown>>, message: string): void;
}

/** Told about each answered request, for metrics. */
export type OnAnswered = (answered: {
  readonly method: string;
  readonly path: string;
  readonly status: number;
  readonly durationMs: number;
}) => void;

export interface ServerOptions<C extends Callers> {
  readonly routes: readonly Mounted[];
  readonly authenticators: Authenticators<C>;
  readonly listen: { readonly host: string; readonly port: number };
  readonly log: ServerLog;
  readonly onAnswered?: OnAnswered;
  /** Answer with `connection: close`, so that no pooled socket is open when a sandbox is frozen. */
  readonly closeConnections?: boolean;
  /** Sockets beyond this number are refused. */
  readonly maxConnections?: number;
  /** A request that has not arrived whole after this time is cut off. */
  readonly requestTimeoutMs?: number;
  /** Adds what is not a declared route: static files, sockets. Runs before the server listens. */
  readonly extend?: (app: FastifyInstance) => void | Promise<void>;
}

export interface RunningServer extends Closable {
  readonly host: string;
  readonly port: number;
  readonly url: string;
  readonly node: NodeServer;
}

/** Serves declared routes. Resolves when it listens; `close` answers what is being answered, then cuts the rest. */
export async function startServer<C extends Callers>(options: ServerOptions<C>): Promise<RunningServer> {
  const app = buildApp(options);
  const sockets = openSockets(app.server);
  await options.extend?.(app);
  const { host, port } = options.listen;
  await app.listen({ host, port });
  const address = app.server.address();
  if (address === null || typeof address === "string") throw new Error(`Cannot tell where ${host}:${port} listens`);
  const shownHost = host === "0.0.0.0" ? "127.0.0.1" : host;
  return {
    host,
    port: address.port,
    url: `http://${shownHost}:${address.port}`,
    node: app.server,
    close: () => closeWithin(app, sockets),
  };
}

/** Time to say goodbye on connections that became sockets of another protocol. Who has vanished without a word never answers. */
const GOODBYE_MS = 1_000;

async function closeWithin(app: FastifyInstance, sockets: ReadonlySet<Socket>): Promise<void> {
  const cut = setTimeout(() => sockets.forEach((socket) => socket.destroy()), GOODBYE_MS);
  try {
    await app.close();
  } finally {
    clearTimeout(cut);
  }
}

function openSockets(server: NodeServer): ReadonlySet<Socket> {
  const sockets = new Set<Socket>();
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  return sockets;
}

function buildApp<C extends Callers>(options: ServerOptions<C>): FastifyInstance {
  const requestTimeout = options.requestTimeoutMs ?? 30_000;
  const app = fastify({
    logger: false,
    forceCloseConnections: true,
    requestTimeout,
    keepAliveTimeout: 5_000,
    bodyLimit: 64 * 1024,
    routerOptions: { maxParamLength: 1024 },
    http: { headersTimeout: Math.min(requestTimeout, 10_000), connectionsCheckingInterval: 2_000 },
  });
  if (options.maxConnections !== undefined) app.server.maxConnections = options.maxConnections;
  if (options.closeConnections === true) app.addHook("onRequest", async (_request, reply) => void reply.header("connection", "close"));
  if (options.onAnswered !== undefined) reportAnswers(app, options.onAnswered);
  app.setErrorHandler((thrown, request, reply) => sendError(thrown, request, reply, options.log));
  app.setNotFoundHandler((request) => {
    throw new TorporError("not_found", `Cannot find ${request.method} ${request.url.split("?")[0]}: no such route`);
  });
  registerBodies(app, options, ["json", "raw"], "buffer");
  registerBodies(app, options, ["stream"], "stream");
  return app;
}

/** Each way of reading a body is a scope of its own, with one parser for every content type: runners label JSON as text. */
function registerBodies<C extends Callers>(
  app: FastifyInstance,
  options: ServerOptions<C>,
  kinds: readonly string[],
  parseAs: "buffer" | "stream",
): void {
  const routes = options.routes.filter((mounted) => kinds.includes(mounted.route.bodyKind));
  void app.register(async (scope) => {
    scope.removeAllContentTypeParsers();
    if (parseAs === "buffer")
      scope.addContentTypeParser("*", { parseAs: "buffer" }, async (_request: FastifyRequest, body: Buffer) => body);
    else scope.addContentTypeParser("*", async (_request: FastifyRequest, payload: NodeJS.ReadableStream) => payload);
    for (const mounted of routes) scope.route(routeOptions(mounted, options));
  });
}

function routeOptions<C extends Callers>({ route, handler }: Mounted, options: ServerOptions<C>): RouteOptions {
  const authenticate = route.auth === "none" ? null : authenticatorFor(route, options.authenticators);
  return {
    method: route.method,
    url: route.path,
    bodyLimit: route.bodyKind === "stream" ? Number.MAX_SAFE_INTEGER : route.bodyLimitBytes,
    handler: async (request, reply) => {
      const params = request.params as Record<string, string>;
      const rawBody = route.bodyKind === "raw" && Buffer.isBuffer(request.body) ? request.body : undefined;
      const caller =
        authenticate === null ? null : await authenticate({ headers: request.headers, remoteAddress: request.ip, params, rawBody });
      const result = await handler({
        params: validated(route.params, params, "params"),
        query: validated(route.query, request.query, "query"),
        body: readBody(route, request.body),
        caller,
        headers: request.headers,
        remoteAddress: request.ip,
        signal: goneSignal(reply),
      });
      return send(reply, route, result);
    },
  };
}

function authenticatorFor<C extends Callers>(route: Route, authenticators: Authenticators<C>): Authenticator<unknown> {
  const found = (authenticators as Partial<Record<Auth, Authenticator<unknown>>>)[route.auth];
  if (found === undefined)
    throw new Error(`Cannot serve ${route.method} ${route.path}: this server knows no callers of kind ${route.auth}`);
  return found;
}

function readBody(route: Route, body: unknown): unknown {
  if (route.bodyKind === "stream") return body;
  if (route.bodyKind === "raw") return validated(route.body, body ?? Buffer.alloc(0), "body");
  return validated(route.body, parseJson(body), "body");
}

function parseJson(body: unknown): unknown {
  if (!Buffer.isBuffer(body) || body.length === 0) return undefined;
  try {
    return JSON.parse(body.toString("utf8"));
  } catch (error) {
    throw new TorporError("body_malformed", `Cannot read the body as JSON: ${(error as Error).message}`, { param: "body", cause: error });
  }
}

function goneSignal(reply: FastifyReply): AbortSignal {
  const controller = new AbortController();
  reply.raw.once("close", () => {
    if (!reply.raw.writableFinished) controller.abort();
  });
  return controller.signal;
}

function send(reply: FastifyReply, route: Route, result: unknown): FastifyReply {
  const answer = result instanceof Answer ? result : new Answer(result);
  void reply.code(answer.status ?? route.status).headers(answer.headers);
  if (answer.body === undefined) return reply.send();
  return reply.type("application/json; charset=utf-8").send(JSON.stringify(answer.body));
}

function sendError(thrown: unknown, request: FastifyRequest, reply: FastifyReply, log: ServerLog): FastifyReply {
  const answer = errorAnswer(thrown, request.routeOptions.bodyLimit);
  if (!answer.expected) log.error({ err: thrown, method: request.method, path: request.routeOptions.url }, "a request failed unforeseen");
  return reply.code(answer.status).headers(answer.headers).type("application/json; charset=utf-8").send(JSON.stringify(answer.body));
}

function reportAnswers(app: FastifyInstance, onAnswered: OnAnswered): void {
  app.addHook("onResponse", async (request, reply) => {
    onAnswered({
      method: request.method,
      path: request.routeOptions.url ?? "unknown",
      status: reply.statusCode,
      durationMs: reply.elapsedTime,
    });
  });
}
