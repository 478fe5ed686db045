import type { Mutant } from "./mutant.ts";

/** Guards of the gateway. */
export const GATEWAY_MUTANTS: readonly Mutant[] = [
  {
    name: "no-deadline",
    guard: "a held sandbox is thawed by itself when its deadline passes",
    laws: ["L4"],
    file: "gateway/src/snapshots/snapshotter.ts",
    find: "this.#deadlines.set(imageId, this.#core.clock.after(delayMs, onDeadline));",
    replace: "void onDeadline;",
    profile: "holds",
  },
  {
    name: "cancel-waits-for-the-write",
    guard: "a cancel ends a freeze in flight, in whatever phase it is",
    laws: ["L4"],
    file: "gateway/src/snapshots/snapshotter.ts",
    find: "running.job.abort.abort(reason);",
    replace: "void reason;",
    profile: "wakes",
  },
  {
    name: "stale-commit-accepted",
    guard: "a commit of a sandbox that was thawed is refused (409)",
    laws: ["L5", "L8"],
    file: "gateway/src/snapshots/snapshotter.ts",
    find: 'if (this.#ended.get(imageId) === "thawed")\n      throw new TorporError("snapshot_stale"',
    replace:
      'if (this.#ended.get(imageId) === "thawed") return;\n    if (phase === "consumed")\n      throw new TorporError("snapshot_stale"',
    profile: "lateCommits",
  },
  {
    name: "stored-before-destroyed",
    guard: "the original is destroyed before its image may be restored",
    laws: ["L5"],
    file: "gateway/src/snapshots/snapshotter.ts",
    find: "await endSandbox(this.#core, sandbox); // throws",
    replace: "void endSandbox(this.#core, sandbox).catch(() => undefined); // throws",
    profile: "calm",
  },
  {
    name: "failed-destruction-forgotten",
    guard: "a commit whose original could not be destroyed goes on with that when it is repeated",
    laws: ["L5"],
    file: "gateway/src/snapshots/snapshotter.ts",
    find: "this.#holderOf(imageId) ?? this.#dying.get(imageId);",
    replace: "this.#holderOf(imageId);",
    profile: "slowDestroys",
  },
  {
    name: "restored-while-held",
    guard: "who asks for an image whose original still exists is told to wait, not that it is gone",
    laws: ["L5", "L11"],
    file: "gateway/src/snapshots/memoryImages.ts",
    find: 'if (phase === "writing" || phase === "held" || phase === "committing")',
    replace: "if (phase === undefined)",
    profile: "slowDestroys",
  },
  {
    name: "not-consumed",
    guard: "an image is consumed before it is restored",
    laws: ["L6"],
    file: "gateway/src/sandboxes/restoring.ts",
    find: 'await memory.move(imageId, isReserved ? "reserve" : "consume");',
    replace: "void isReserved;",
    profile: "rivals",
  },
];
