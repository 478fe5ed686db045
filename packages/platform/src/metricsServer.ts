import { createServer } from "node:http";
import type { Closable } from "@torpor/kernel";
import type { Metrics } from "@torpor/observe";

/** Serves metrics in Prometheus' text form, and nothing else. */
export async function serveMetrics(listen: { readonly host: string; readonly port: number }, metrics: Metrics): Promise<Closable> {
  const server = createServer((request, response) => {
    if (request.method !== "GET" || request.url !== "/metrics") return void response.writeHead(404).end();
    metrics.render().then(
      (text) => response.writeHead(200, { "content-type": "text/plain; version=0.0.4" }).end(text),
      () => response.writeHead(500).end(),
    );
  });
  server.maxConnections = 16;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(listen.port, listen.host, resolve);
  });
  return {
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
