// The program that test sandboxes run: `node guest.mjs <what>`.
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { createServer, connect } from "node:net";

/** One line on standard output. */
function say(line) {
  process.stdout.write(`${line}\n`);
}

const programs = {
  /** Says how far it is, ten times a second; remembers it in memory and in files of the image's folders. */
  ticks() {
    let count = 0;
    writeFileSync("/tmp/mine", "tmp");
    writeFileSync("./mine", "app");
    setInterval(() => say(`tick ${++count} ${readFileSync("/tmp/mine", "utf8")}${readFileSync("./mine", "utf8")}`), 100);
  },
  /** Like `ticks`, with memory that takes a while to write. */
  heavy() {
    const megabytes = Number(process.env.MEGABYTES ?? "64");
    const kept = Array.from({ length: megabytes }, (_, index) => Buffer.alloc(2 ** 20, index + 1));
    let count = 0;
    setInterval(() => say(`tick ${++count} ${kept.length}`), 100);
  },
  /** Keeps a text in memory that stands nowhere: 64 hexadecimal digits, many times over. */
  canary() {
    const text = createHash("sha256").update("canary").digest("hex");
    const kept = Buffer.alloc(4 * 2 ** 20, text);
    let count = 0;
    setInterval(() => say(`tick ${++count} ${kept.length}`), 100);
  },
  exits_with_7() {
    setTimeout(() => process.exit(7), 200);
  },
  /** Tries to reach addresses that come as `host:port` in TARGETS and prints what became of each. */
  async reaches() {
    for (const target of process.env.TARGETS.split(",")) say(`reach ${target} ${await tryConnect(target)}`);
    say("tick 1");
    setInterval(() => undefined, 1_000);
  },
  /** Prints the metadata document again and again. */
  metadata() {
    let count = 0;
    setInterval(async () => {
      const answer = await fetch("http://169.254.169.254/env").catch((error) => ({
        text: async () => `error ${error.cause?.code ?? error.message}`,
      }));
      say(`tick ${++count} env ${await answer.text()}`);
    }, 100);
  },
  /** Prints what it is allowed to be and do. */
  rights() {
    const status = readFileSync("/proc/self/status", "utf8");
    say(`rights uid=${process.getuid()} caps=${/CapEff:\s+(\w+)/.exec(status)?.[1]} nnp=${/NoNewPrivs:\s+(\d)/.exec(status)?.[1]}`);
    for (const path of ["/app/x", "/tmp/x", "/home/task/x", "/dev/shm/x", "/etc/x", "/usr/x", "/x"]) say(`write ${path} ${tryWrite(path)}`);
    say(`fill ${fill("/tmp/fill")}`);
    say("tick 1");
    createServer().listen(9999);
  },
};

function tryConnect(target) {
  const [host, port] = target.split(":");
  return new Promise((resolve) => {
    const socket = connect({ host, port: Number(port) });
    const end = (what) => {
      socket.destroy();
      resolve(what);
    };
    socket.once("connect", () => socket.write("GET /who HTTP/1.0\r\n\r\n"));
    socket.once("data", (data) => end(`open ${data.toString().split("\r\n").at(-1)}`));
    socket.once("error", (error) => end(error.code));
    setTimeout(() => end("timeout"), 2_000);
  });
}

function tryWrite(path) {
  try {
    writeFileSync(path, "x");
    return "ok";
  } catch (error) {
    return error.code;
  }
}

function fill(path) {
  const piece = Buffer.alloc(2 ** 20);
  for (let count = 0; count < 10_000; count++) {
    try {
      writeFileSync(path, piece, { flag: "a" });
    } catch (error) {
      return `${error.code} after ${count} MiB`;
    }
  }
  return "without end";
}

programs[process.argv[2]]();
