import { Secret, systemClock, systemRandom } from "@torpor/kernel";
import { silentLog } from "@torpor/observe";
import { createEngine, type EnvironmentRef } from "../src/index.ts";

// An engine in a process of its own that works until it is killed: it triggers runs, takes them, makes some wait, and
// completes them. Each line on its output is something that the engine has acknowledged.
//
//   node engineProcess.ts <connection string> <project ref> <worker group id>

const [connectionString = "", ref = "", workerGroupId = ""] = process.argv.slice(2);
const engine = createEngine({
  connectionString,
  clock: systemClock,
  random: systemRandom,
  log: silentLog,
  settings: { encryptionKey: new Secret("0".repeat(64)) },
});
await engine.start();

const { environments } = await engine.ensureProject({ ref });
const env = environments.find((one) => one.type === "PRODUCTION");
if (env === undefined) throw new Error("no production environment");
const worker = { workerGroupId, instanceName: "doomed", runnerId: "doomed-runner" };

function say(what: string, id: string): void {
  process.stdout.write(`${what} ${id}\n`);
}

async function triggerForEver(env: EnvironmentRef): Promise<never> {
  for (let index = 0; ; index++) {
    const outcome = await engine.trigger(env, "work", { payloadType: "application/json", payload: String(index) });
    if (outcome.kind === "triggered") say("triggered", outcome.runId);
  }
}

async function workForEver(env: EnvironmentRef): Promise<never> {
  for (let index = 0; ; index++) {
    const [message] = await engine.dequeue(worker, { waitMs: 1_000, signal: new AbortController().signal });
    if (message === undefined) continue;
    const runId = message.run.friendlyId;
    const started = await engine.startAttempt(worker, runId, message.snapshot.friendlyId, { isWarmStart: false });
    if (started.kind !== "started") continue;
    if (index % 3 === 0) {
      await engine.waitUntil(env, runId, { date: new Date(Date.now() + 300) });
      say("waiting", runId);
      continue;
    }
    const completed = await engine.completeAttempt(
      worker,
      runId,
      started.result.snapshot.friendlyId,
      { ok: true, id: runId, output: `by ${process.pid}`, outputType: "text/plain" },
      { forceRequeue: false },
    );
    if (completed.kind === "completed") say("completed", runId);
  }
}

await Promise.all([triggerForEver(env), triggerForEver(env), workForEver(env), workForEver(env)]);
