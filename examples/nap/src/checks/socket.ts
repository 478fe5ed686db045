import { connect, type Socket } from "node:net";

const ANSWER_TIMEOUT_MS = 5_000;

/** A raw TCP connection to the host and port of `origin`. */
export function openSocket(origin: string): Promise<Socket> {
  const url = new URL(origin);
  const port = Number(url.port || (url.protocol === "https:" ? 443 : 80));
  const { promise, resolve, reject } = Promise.withResolvers<Socket>();
  const socket = connect({ host: url.hostname, port });
  socket.once("connect", () => resolve(socket));
  socket.once("error", reject);
  socket.setTimeout(ANSWER_TIMEOUT_MS, () => reject(new Error(`Cannot connect to ${origin} within ${ANSWER_TIMEOUT_MS} ms`)));
  return promise.finally(() => socket.setTimeout(0));
}

/**
 * What became of a connection: the other side answers ("alive"), we know that it is gone ("closed"), or
 * neither ("silent"). After a sleep it must be closed, after a wait in memory it may be alive; a silent one would
 * hang the task's own clients.
 */
export function probeSocket(socket: Socket): Promise<"alive" | "closed" | "silent"> {
  if (socket.destroyed || socket.readableEnded) return Promise.resolve("closed");
  const { promise, resolve } = Promise.withResolvers<"alive" | "closed" | "silent">();
  socket.once("data", () => resolve("alive"));
  for (const end of ["end", "close", "error"]) socket.once(end, () => resolve("closed"));
  socket.setTimeout(ANSWER_TIMEOUT_MS, () => resolve("silent"));
  socket.write("GET / HTTP/1.1\r\nhost: torpor\r\nconnection: close\r\n\r\n");
  return promise.finally(() => socket.destroy());
}
