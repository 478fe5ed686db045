import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";

const MODULES = ["node:http", "node:https", "node:net", "node:tls", "node:zlib"];
/** The first request loads Node's client, 50 ms; the next ones run through what only then is compiled. */
const REQUESTS = 3;

/** Has Node load and compile what the first requests of a process would. They are answered by this process itself. */
export async function warmUp(): Promise<void> {
  for (const name of MODULES) await import(name);
  const server = createServer((request, response) => {
    request.resume().once("end", () => response.writeHead(200, { "content-type": "application/json", connection: "close" }).end("{}"));
  });
  await new Promise<void>((resolve, reject) => server.once("error", reject).listen(0, "127.0.0.1", resolve));
  try {
    for (let count = 0; count < REQUESTS; count++) await ask(server);
  } finally {
    await new Promise((resolve) => server.close(resolve));
  }
}

async function ask(server: Server): Promise<void> {
  const { port } = server.address() as AddressInfo;
  const response = await fetch(`http://127.0.0.1:${port}/`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: "{}",
  });
  await response.json();
}
