// A public address that exists only on this machine: a network namespace with a server in it, so that egress can be tried anywhere.
import { spawn } from "node:child_process";
import { exec, execOrThrow } from "../drivers/gvisor/exec.ts";

/** An address of 5.0.0.0/8 that nobody here speaks to. */
export const PUBLIC_ADDRESS = "5.45.67.89";
const SERVER = `require("node:http").createServer((request, response) => response.end(request.socket.remoteAddress)).listen(80, "0.0.0.0", () => console.log("ready"))`;

export interface FakeInternet {
  close(): Promise<void>;
}

/** Makes the namespace, routes the address to it, and serves port 80 there, answering with the address it sees. */
export async function startFakeInternet(): Promise<FakeInternet> {
  const name = `tnet${Math.random().toString(36).slice(2, 7)}`;
  await ip("netns", "add", name);
  await ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name);
  await ip("addr", "add", "198.51.100.1/32", "dev", name);
  await ip("link", "set", name, "up");
  await ip("route", "add", `${PUBLIC_ADDRESS}/32`, "dev", name);
  await ip("-n", name, "link", "set", "lo", "up");
  await ip("-n", name, "addr", "add", `${PUBLIC_ADDRESS}/32`, "dev", "eth0");
  await ip("-n", name, "link", "set", "eth0", "up");
  await ip("-n", name, "route", "add", "198.51.100.1", "dev", "eth0");
  await ip("-n", name, "route", "add", "default", "via", "198.51.100.1", "dev", "eth0");
  const server = spawn("ip", ["netns", "exec", name, process.execPath, "-e", SERVER], { stdio: ["ignore", "pipe", "inherit"] });
  await new Promise<void>((resolve) => server.stdout.once("data", () => resolve()));
  return {
    async close() {
      server.kill("SIGKILL");
      await new Promise<void>((resolve) =>
        server.exitCode === null && server.signalCode === null ? server.once("exit", () => resolve()) : resolve(),
      );
      await exec("ip", ["link", "del", name], { timeoutMs: 5_000 });
      await exec("ip", ["netns", "del", name], { timeoutMs: 5_000 });
    },
  };
}

function ip(...args: string[]): Promise<string> {
  return execOrThrow("ip", args, { timeoutMs: 5_000 });
}
