// Guards of the laws that the simulation's mutants cannot reach: what the real engine, its database and the warm starts do, and
// what another guard would make good a moment later. The rest of the laws' guards stand in packages/sim/src/mutants.
import type { Guard } from "./guard.ts";

const ENGINE = "packages/engine/src";
const SUPERVISOR = "packages/supervisor/src";
const TEST = "packages/supervisor/test";
const engineTest = (file: string, name: string): Guard["test"] => ({ file: `packages/engine/test/${file}.test.ts`, name });
const cancelTest = (name: string): Guard["test"] => ({ file: `${TEST}/cancel.test.ts`, name });
const doorTest = (name: string): Guard["test"] => ({ file: `${TEST}/warmDoor.test.ts`, name });

const SLEEP: readonly Guard[] = [
  {
    id: "L1",
    guard: "the runner's own start cancels its sleep",
    file: `${SUPERVISOR}/workload/runActions.ts`,
    find: 'intents.cancel(at.runId, "started", caller.runner?.name, at.snapshotId);',
    replace: "",
    test: cancelTest("the runner's own"),
  },
  {
    id: "L1",
    guard: "the runner's own continue cancels its sleep",
    file: `${SUPERVISOR}/workload/runActions.ts`,
    find: 'intents.cancel(at.runId, "continued", runner?.name, at.snapshotId);',
    replace: "",
    test: cancelTest("the runner's own"),
  },
  {
    id: "L1",
    guard: "a completion cancels the sleep before it is passed on",
    file: `${SUPERVISOR}/workload/runActions.ts`,
    find: 'intents.cancel(asked.runId, "completed", runner?.name, asked.snapshotId);',
    replace: "",
    test: cancelTest("its completion cancels it before the call is passed on"),
  },
  {
    id: "L1",
    guard: "the runner's end cancels its sleep",
    file: `${SUPERVISOR}/snapshot/intents.ts`,
    find: 'if (intent.runnerId === runnerId) this.#end(intent, "runner_ended", "snapshot.canceled");',
    replace: "void [intent, runnerId];",
    test: cancelTest("the runner's end, in every stage"),
  },
  {
    id: "L1",
    guard: "a hand-out to another runner cancels the sleep of the former",
    file: `${SUPERVISOR}/launch/launcher.ts`,
    find: 'intents.cancel(runId, "reassigned");',
    replace: "void intents;",
    test: cancelTest("the run's hand-out to another runner"),
  },
  {
    id: "L2",
    guard: "a caller that says no runner id cancels without the check",
    file: `${SUPERVISOR}/snapshot/intents.ts`,
    find: "(by !== undefined && intent.runnerId !== by)",
    replace: "intent.runnerId !== by",
    test: cancelTest("a caller so old that it does not say who it is"),
  },
  {
    id: "L1",
    guard: "nobody is frozen amid a request of his own",
    file: `${SUPERVISOR}/snapshot/waits.ts`,
    find: "while (runners.openRequestsOf(intent.runnerId) > 0) {",
    replace: "while (false) {",
    test: { file: `${TEST}/sleep.test.ts`, name: "waits for an open request of the runner before it freezes it" },
  },
];

const RUNS: readonly Guard[] = [
  {
    id: "L8",
    guard: "a start at a snapshot that is not the latest is refused",
    file: `${ENGINE}/operations/start.ts`,
    find: "if (run.snapshot_id !== snapshot) {",
    replace: "if (snapshot === undefined) {",
    test: engineTest("dequeue", "leaves the one who gave it back no start, though the run is handed out again and not begun"),
  },
  {
    id: "L8",
    guard: "a write that believes in a snapshot that is not the latest fails",
    file: `${ENGINE}/sql/snapshots.ts`,
    find: "where id = $1 and snapshot_id = $2 returning",
    replace: "where id = $1 and $2::text is not null returning",
    test: {
      file: `${ENGINE}/sql/snapshots.test.ts`,
      name: "fails the whole transaction when the snapshot that it believes in is not the latest",
    },
  },
  {
    id: "L8",
    guard: "one hand-out of an environment at a time counts and takes",
    file: `${ENGINE}/migrations/0003_nodes.sql`,
    find: "order by t.environment_id for update;",
    replace: "order by t.environment_id;",
    test: {
      file: `${ENGINE}/sql/dequeue.test.ts`,
      name: "count what is held only when the one before has taken what it chose (D1)",
    },
  },
  {
    id: "L9",
    guard: "whoever begins to wait looks whether it is over already",
    file: `${ENGINE}/operations/blocking.ts`,
    find: "const pending = wait.isNew ? true : await pendingAmong(tx, [wait.waitpointId]);",
    replace: "const pending = true;",
    test: engineTest("tokens", "resumes a run even if the token was completed just before the run began to wait (behaviour 73)"),
  },
  {
    id: "L9",
    guard: "a resume brings its waitpoints",
    file: `${ENGINE}/operations/advance.ts`,
    find: 'bringsWaitpoints: event === "resume",',
    replace: "bringsWaitpoints: false,",
    test: engineTest("tokens", "blocks, and resumes with the token's data when it is completed, with a notification (behaviour 67)"),
  },
  {
    id: "L9",
    guard: "a resume is noted on disk with its cause",
    file: `${ENGINE}/operations/blocking.ts`,
    find: 'await armTimers(tx, "resume", runIds, new Date(at.getTime() + RESUME_GRACE_MS));',
    replace: "",
    test: engineTest("restart", "finish what one has begun that is lost between the end of a wait and the resume (L9)"),
  },
  {
    id: "B66",
    guard: "the end of a wait takes the edge along that an item of a batch was adding just then",
    file: `${ENGINE}/operations/advance.ts`,
    find: 'if (effects.endsWaits && event !== "resume") holdEdges(tx, run.id);',
    replace: "",
    test: engineTest("batchRaces", "leaves nothing to wait for behind, when the parent"),
  },
  {
    id: "L10",
    guard: "what is repeated under one key happens once",
    file: `${ENGINE}/sql/newRuns.ts`,
    find: "run.requestKey ?? null,",
    replace: "null,",
    test: engineTest("trigger", "is answered with the same run when the same call is repeated"),
  },
  {
    id: "L10",
    guard: "nothing is acknowledged before its transaction is on disk",
    file: `${ENGINE}/sql/database.ts`,
    find: 'await Promise.all(this.#sent);\n    // A transaction that failed answers `commit` with a rollback and no error.\n    if ((await committed).command !== "COMMIT") throw new Error("Cannot commit: the transaction was rolled back");',
    replace: "",
    test: {
      file: `${ENGINE}/sql/database.test.ts`,
      name: "that nobody waited for inside still fails as a whole, and tells nobody after the commit",
    },
  },
  {
    id: "L10",
    guard: "PostgreSQL writes to the disk what it says is written",
    file: "packages/postgres/src/server.ts",
    find: '    fsync: options.fsync ? "on" : "off",',
    replace: '    fsync: "off",',
    test: { file: "packages/postgres/src/server.test.ts", name: "listens on a loopback port of its own when asked to" },
  },
  {
    id: "L11",
    guard: "a refused memory image starts the attempt over, with the reason",
    file: `${ENGINE}/operations/suspend.ts`,
    find: 'else if (outcome.outcome !== "requeue" && hasSlept) await startOver(core, tx, run, why, worker);',
    replace: "",
    test: engineTest("restore", "is dropped when the node refuses it: the attempt starts over without it"),
  },
];

const WARM: readonly Guard[] = [
  {
    id: "L12",
    guard: "a runner whose sandbox does not run is given nothing",
    file: `${SUPERVISOR}/workload/warmDoor.ts`,
    find: 'runner.phase === "running" && runner.runId === null',
    replace: "runner.runId === null",
    test: doorTest("by now refuses, and the run starts elsewhere at once"),
  },
  {
    id: "L12",
    guard: "a poll near its client's patience is offered nothing",
    file: `${SUPERVISOR}/workload/warmDoor.ts`,
    find: "clock.after(connectionMs - LATE_MS, () => seat.registered.abort()),",
    replace: "",
    test: doorTest("is not registered any more near the end of its poll, because its client might not read the answer"),
  },
  {
    id: "L12",
    guard: "a run counts as taken at a sign of its runner, and not before",
    file: `${SUPERVISOR}/workload/warmDoor.ts`,
    find: "if (await sign) {",
    replace: "void sign;\n    if (givenMs >= 0) {",
    test: doorTest("and gives no sign of the run within a second loses it to a sandbox of its own"),
  },
];

const CANCELLATIONS: readonly Guard[] = [
  {
    id: "P24",
    guard: "a cancellation waits for a runner that begins an attempt",
    file: `${SUPERVISOR}/workload/runActions.ts`,
    find: "if (isCanceled && runner !== null && !(await this.#beginnings.hears(runner))) return NOTHING_NEW;",
    replace: "void isCanceled;",
    test: cancelTest("is told of only when the runner has taken in the answer to its start, since it hears nothing before"),
  },
  {
    id: "P24",
    guard: "a start counts as under way until its answer is there",
    file: `${SUPERVISOR}/workload/beginnings.ts`,
    find: "return await call();",
    replace: "return call();",
    test: cancelTest("is not told of while that answer is still on its way: the runner asks again"),
  },
];

const NODES: readonly Guard[] = [
  {
    id: "P23",
    guard: "a checkpoint says on which node it is",
    file: `${ENGINE}/operations/suspend.ts`,
    find: 'const node = result.checkpoint.type === "COMPUTE" ? nodeOf(worker) : null;',
    replace: "const node = null;",
    test: engineTest("nodes", "is woken by that node, though another has asked first and goes on asking"),
  },
  {
    id: "P23",
    guard: "a node that is lost leaves its runs to others",
    file: `${ENGINE}/migrations/0003_nodes.sql`,
    find: "if v_seen is null or v_seen <= p_now then",
    replace: "if v_seen is null then",
    test: engineTest("nodes", "for good: the attempt starts over elsewhere, and the timeline says why"),
  },
  {
    id: "P23",
    guard: "who waits is answered when a node counts as lost, without anything else happening",
    file: `${ENGINE}/operations/handOut.ts`,
    find: "nextAt: earlier(nextReady, pick.nextLostAt)",
    replace: "nextAt: nextReady",
    test: engineTest("nodes", "leaves its runs to whoever asks, from the moment on at which it counts as lost"),
  },
  {
    id: "P23",
    guard: "each node has somebody in each look",
    file: `${ENGINE}/operations/dispatcher.ts`,
    find: "const waiters = inRound([...this.#waiters]);",
    replace: "const waiters = [...this.#waiters].slice(0, MAX_PER_ROUND);",
    test: engineTest("nodes", "is not hidden by many requests of another node"),
  },
  {
    id: "P23",
    guard: "being handed about costs none of the run's hand-outs",
    file: `${ENGINE}/operations/suspend.ts`,
    find: 'if (decision.kind === "waitForHome") advance(core, tx, run, "giveBack", { at: now(core), description, worker });\n  else await giveBack',
    replace: "await giveBack",
    test: engineTest("nodes", "and is there again in time gets its runs back, and that costs none of their hand-outs, however often"),
  },
];

export const LAWS: readonly Guard[] = [...SLEEP, ...RUNS, ...WARM, ...CANCELLATIONS, ...NODES];
