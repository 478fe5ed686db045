// What runsc says when a call fails, put into words of our own: its text may be long, and may hold pieces of the guest's memory.
import type { ExecResult } from "./exec.ts";

const KINDS = [
  [/no space left|disk quota/i, "there is no room left to write to"],
  [/cannot allocate memory|out of memory/i, "the host has no memory left"],
  [/permission denied|operation not permitted/i, "the host does not permit it"],
  [/version .*does not match|hash mismatch/i, "the files were made by another runsc"],
  [/unexpected EOF|invalid argument|checksum|corrupt/i, "the files are not what it expects"],
  [/does not exist|no such file|not found/i, "something of the sandbox is missing"],
  [/connection (refused|reset)|broken pipe|EOF$|urpc/i, "the sandbox's kernel does not answer"],
  [/not running|is stopped|state "?stopped/i, "the sandbox does not run"],
  [/save rejected|can't save|cannot save|unsupported/i, "the guest has something that cannot be saved"],
  [/panic|fatal error|SIGSEGV/i, "the sandbox's kernel failed"],
] as const;

/** One bounded sentence without a word of the guest's. */
export function complaintOf({ end, code, stderr }: Pick<ExecResult, "end" | "code" | "stderr">): string {
  if (end === "timed_out") return "runsc did not end in time";
  if (end === "aborted") return "runsc was cut off";
  if (end === "not_started") return "runsc could not be started";
  const kind = KINDS.find(([pattern]) => pattern.test(stderr))?.[1];
  return `runsc ended with status ${code ?? "none"}: ${kind ?? "for a reason that it names in words of its own"}`;
}
