import { task, wait } from "@trigger.dev/sdk";
import { join } from "node:path";
import { contentSurvived, descriptorSurvived, writeAndKeepOpen } from "../checks/files.js";
import { fillMemory, sha256 } from "../checks/memory.js";
import { openSocket, probeSocket } from "../checks/socket.js";

const MEMORY_BYTES = 50 * 1024 * 1024;

export interface NapPayload {
  /** How long to wait. Of 5 s or less the SDK makes an ordinary timer, and nothing sleeps. Default 20. */
  seconds?: number;
  /** How much later than asked the task may go on before its clock counts as wrong. Default 10. */
  slackSeconds?: number;
}

/** Everything a program can hold while it waits: memory, files, a connection, a place in a loop, the time. */
export const nap = task({
  id: "nap",
  run: async ({ seconds = 20, slackSeconds = 10 }: NapPayload, { ctx }) => {
    const drawn = Math.floor(Math.random() * 2 ** 48);
    const memory = fillMemory(drawn >>> 0, MEMORY_BYTES);
    const hashBefore = sha256(memory);
    const attemptBefore = ctx.attempt.number;
    const content = `run ${ctx.run.id} drew ${drawn}`;
    const inTmp = await writeAndKeepOpen(`/tmp/${ctx.run.id}.txt`, content);
    const inCwd = await writeAndKeepOpen(join(process.cwd(), `${ctx.run.id}.txt`), content);
    const socket = await openSocket(apiOrigin());
    socket.on("error", () => {}); // the connection is expected to break; probeSocket says how

    const sleep = await sleepInsideALoop(seconds);

    const elapsedMs = sleep.wokeAtMs - sleep.sleptAtMs;
    const socketAfter = await probeSocket(socket);
    const checks = {
      memory: sha256(memory) === hashBefore,
      randomNumber: content.endsWith(String(drawn)) && memory[0] === fillMemory(drawn >>> 0, 4)[0],
      fileInTmp: await contentSurvived(inTmp),
      fileInWorkingDirectory: await contentSurvived(inCwd),
      descriptorInTmp: await descriptorSurvived(inTmp),
      descriptorInWorkingDirectory: await descriptorSurvived(inCwd),
      socketNotSilent: socketAfter !== "silent",
      reconnects: await reconnects(),
      loopAndClosure: sleep.trail === "11 12 13 21 [22] 23 31 32 33" && sleep.sum === 121,
      attempt: ctx.attempt.number === attemptBefore && attemptBefore === 1,
      clock: elapsedMs >= seconds * 1000 && elapsedMs <= (seconds + slackSeconds) * 1000,
    };
    const failed = Object.entries(checks).flatMap(([name, held]) => (held ? [] : [name]));
    const report = { checks, drawn, socketAfter, attempt: ctx.attempt.number, elapsedMs, ...sleep };
    if (failed.length > 0) throw new Error(`Did not survive the nap: ${failed.join(", ")} (${JSON.stringify(report)})`);
    return report;
  },
});

/** Waits in the middle of a nested loop whose state lives in locals and in a closure. */
async function sleepInsideALoop(seconds: number) {
  const marks: string[] = [];
  let sum = 0;
  let sleptAtMs = 0;
  let wokeAtMs = 0;
  const add = (value: number): void => {
    sum += value;
  };
  for (let outer = 1; outer <= 3; outer++) {
    for (let inner = 1; inner <= 3; inner++) {
      const place = `${outer}${inner}`;
      add(outer * inner);
      if (place !== "22") {
        marks.push(place);
        continue;
      }
      sleptAtMs = Date.now();
      await wait.for({ seconds });
      wokeAtMs = Date.now();
      add(85); // 36 from the loop and 85 from here
      marks.push(`[${place}]`);
    }
  }
  return { trail: marks.join(" "), sum, sleptAtMs, wokeAtMs, lateMs: wokeAtMs - sleptAtMs - seconds * 1000 };
}

async function reconnects(): Promise<boolean> {
  return (await probeSocket(await openSocket(apiOrigin()))) === "alive";
}

function apiOrigin(): string {
  const url = process.env["TRIGGER_API_URL"];
  if (url === undefined) throw new Error("TRIGGER_API_URL is not set: who runs this task must say where its API is");
  return new URL(url).origin;
}
