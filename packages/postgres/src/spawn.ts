import { spawn, type ChildProcess } from "node:child_process";
import type { ServerOwner } from "./owner.ts";

// How PostgreSQL's programs are started.

/**
 * Runs the server and reads a pipe that only we hold open: at its end, however that comes about, the server is
 * interrupted (a fast shutdown), and scratch data go with it: by the path at which they are seen, where the folder itself
 * cannot go because it is mounted there, and by their own.
 */
const WATCHER = [
  'scratch="$1"; place="$2"; shift 2; exec 3<&0 0</dev/null; "$@" 3<&- & server=$!; echo "pid $server"',
  "{ read -r nothing <&3; kill -INT $server 2>/dev/null; } & watch=$!; exec 3<&-",
  "wait $server; code=$?; kill $watch 2>/dev/null",
  'if [ -n "$scratch" ]; then cd /; rm -rf "$scratch" "$place" 2>/dev/null; fi; exit $code',
].join("\n");

/** Makes each folder visible at a place that every user gets to, in a mount namespace that ends with the process; then changes the user. */
const MAPPER = [
  'ids="$1"; count="$2"; shift 2; mount -t tmpfs -o mode=0755 torpor /mnt || exit 1; n=0',
  'while [ $n -lt $count ]; do mkdir /mnt/$n && mount --bind "$1" /mnt/$n || exit 1; shift; n=$((n + 1)); done',
  'exec setpriv --reuid="${ids%:*}" --regid="${ids#*:}" --clear-groups "$@"',
].join("\n");

export interface Programs {
  /** The path as the programs see it. */
  seen(path: string): string;
  /** Runs a program to its end; throws with its last words when it fails. */
  run(command: string, args: readonly string[]): Promise<void>;
  /** Starts a server under the watcher. Its first line on standard output is `pid <number>`. */
  serve(command: string, args: readonly string[], scratchDir: string): ChildProcess;
}

/** Programs that need these folders, run as `owner` who may not get to them: a clone in root's home is shut to everybody else. */
export async function programsFor(owner: ServerOwner, folders: readonly string[]): Promise<Programs> {
  const reachable = await Promise.all(folders.map((folder) => owner.reaches(`${folder}/x`)));
  const mapped = owner.ids === undefined || reachable.every(Boolean) ? [] : folders;
  const seen = (path: string): string => {
    const at = mapped.findIndex((folder) => path === folder || path.startsWith(`${folder}/`));
    return at === -1 ? path : `/mnt/${at}${path.slice((mapped[at] ?? "").length)}`;
  };
  const start = (command: string, args: readonly string[], stdin: "ignore" | "pipe", detached: boolean): ChildProcess => {
    const { ids } = owner;
    const direct = mapped.length === 0 || ids === undefined;
    const [program, all] = direct
      ? [command, args]
      : [
          "unshare",
          [
            "--mount",
            "--propagation",
            "private",
            "/bin/sh",
            "-c",
            MAPPER,
            "map",
            `${ids.uid}:${ids.gid}`,
            String(mapped.length),
            ...mapped,
            command,
            ...args,
          ],
        ];
    return spawn(program, all, {
      ...(direct && ids !== undefined ? ids : {}),
      cwd: "/",
      detached,
      stdio: [stdin, "pipe", "pipe"],
      env: { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C", TZ: "UTC" },
    });
  };
  return {
    seen,
    run: (command, args) => ended(command, start(seen(command), args, "ignore", false)),
    // Detached: Ctrl-C at a terminal is for us; we close the server when nobody needs it any more.
    serve: (command, args, scratchDir) =>
      start(
        "/bin/sh",
        ["-c", WATCHER, "postgres", scratchDir === "" ? "" : seen(scratchDir), scratchDir, seen(command), ...args],
        "pipe",
        true,
      ),
  };
}

async function ended(command: string, child: ChildProcess): Promise<void> {
  let said = "";
  child.stdout?.on("data", (chunk: Buffer) => (said += chunk.toString()));
  child.stderr?.on("data", (chunk: Buffer) => (said += chunk.toString()));
  await new Promise<void>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) =>
      code === 0 ? resolve() : reject(new Error(`Cannot run ${command}: it ended with code ${code}\n${said.slice(-2000)}`)),
    );
  });
}
