const MODULES = ["node:http", "node:https", "node:net", "node:tls", "node:zlib"];

/** Has Node load what the first request of a process would load: its HTTP client takes 50 ms. Port 0 is never connected to. */
export async function warmUp(): Promise<void> {
  for (const name of MODULES) await import(name);
  await fetch("http://127.0.0.1:0/").catch(() => undefined);
}
