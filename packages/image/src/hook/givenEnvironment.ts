// The environment of a clone that was made before it was known who it will be. It comes over the sandbox's own network, so that it is
// on no disk, and whoever asks is known by its address.
import { get } from "node:http";

/** Waits until the host says who this is. Rejects when it hangs up: then this clone is not needed, or the host's server is gone. */
export async function givenEnvironment(origin: string): Promise<Record<string, string>> {
  return JSON.parse(await ask(new URL("/start", origin))) as Record<string, string>;
}

function ask(url: URL): Promise<string> {
  return new Promise((resolve, reject) => {
    const request = get(url, { agent: false }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (chunk: string) => void (text += chunk));
      response.once("error", reject).once("end", () => (response.statusCode === 200 ? resolve(text) : reject(new Error(text))));
    });
    request.once("error", reject);
  });
}
