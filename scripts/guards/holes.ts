// The guards against the holes that systems of this kind are known to have (H1 to H18 of SPEC.md).
import type { Guard } from "./guard.ts";

const SUPERVISOR = "packages/supervisor/src";
const TEST = "packages/supervisor/test";
const sleepTest = (name: string): Guard["test"] => ({ file: `${TEST}/sleep.test.ts`, name });
const cancelTest = (name: string): Guard["test"] => ({ file: `${TEST}/cancel.test.ts`, name });
const suspendTest = (name: string): Guard["test"] => ({ file: `${TEST}/suspend.test.ts`, name });
const outageTest = (name: string): Guard["test"] => ({ file: `${TEST}/outage.test.ts`, name });
const restoreTest = (name: string): Guard["test"] => ({ file: `${TEST}/restore.test.ts`, name });

const CANCELS: readonly Guard[] = [
  {
    id: "H1",
    guard: "a newer snapshot of the run, seen from anywhere, cancels its sleep",
    file: `${SUPERVISOR}/snapshot/intents.ts`,
    find: 'this.#end(intent, status === "EXECUTING" ? "resumed" : "superseded", "snapshot.canceled");',
    replace: "",
    test: sleepTest("in the timer wheel: nothing is frozen, although the runner only polls"),
  },
  {
    id: "H1",
    guard: "the platform's push makes the supervisor look",
    file: `${SUPERVISOR}/core.ts`,
    find: 'if (latest.kind === "ok") intents.observe(runId, latest.body.snapshot.friendlyId, latest.body.snapshot.executionStatus);',
    replace: "",
    test: sleepTest("in the timer wheel, told by the platform's push alone"),
  },
  {
    id: "H1",
    guard: "a heartbeat at a newer snapshot tells of it",
    file: `${SUPERVISOR}/workload/runActions.ts`,
    find: "this.#deps.intents.observe(at.runId, at.snapshotId);",
    replace: "",
    test: sleepTest("in the timer wheel, told by the runner's heartbeat at its newer snapshot alone"),
  },
  {
    id: "H1",
    guard: "the platform is asked right before a freeze",
    file: `${SUPERVISOR}/snapshot/sleeper.ts`,
    find: "if (!(await this.#stillWaits(intent))) return;",
    replace: "",
    test: sleepTest("told by nobody: the look at the platform just before freezing finds it"),
  },
  {
    id: "H2",
    guard: "what waits behind the limit is cancelled at once",
    file: `${SUPERVISOR}/snapshot/intents.ts`,
    find: 'if (intent.ended || phase.state === "accepted") return;',
    replace: 'if (intent.ended || phase.state === "accepted" || phase.state === "due") return;',
    test: sleepTest("behind the limit on freezes at once"),
  },
  {
    id: "H2",
    guard: "what is cancelled leaves the line behind the limit",
    file: `${SUPERVISOR}/snapshot/sleeper.ts`,
    find: "await this.#limiter.run(intent.signal, () => this.#inTurn(intent));",
    replace: "await this.#limiter.run(new AbortController().signal, () => this.#inTurn(intent));",
    test: sleepTest("behind the limit on freezes at once"),
  },
  {
    id: "H2",
    guard: "what is in flight at the gateway is thawed",
    file: `${SUPERVISOR}/snapshot/intents.ts`,
    find: "if (reachedGateway) this.#track(this.#deps.thaw(intent));",
    replace: "",
    test: sleepTest("while its memory is being written: it is thawed at once and goes on in the same sandbox"),
  },
  {
    id: "H2",
    guard: "a cancel that came before the request to freeze is repeated after it",
    file: `${SUPERVISOR}/snapshot/sleeper.ts`,
    find: "await this.thaw(intent); // again:",
    replace: "// again:",
    test: sleepTest("while the request to freeze is still on its way to the gateway"),
  },
  {
    id: "H3",
    guard: "a cancel counts for the intent of its own runner alone",
    file: `${SUPERVISOR}/snapshot/intents.ts`,
    find: "if (intent === undefined || (by !== undefined && intent.runnerId !== by)) return;",
    replace: "if (intent === undefined) return;",
    test: cancelTest("not one that lost the run and is still passed on, to learn so"),
  },
  {
    id: "H3",
    guard: "a word about an earlier wait cancels no later one",
    file: `${SUPERVISOR}/snapshot/intents.ts`,
    find: "if (isLate(intent)) return;",
    replace: "",
    test: cancelTest("not its own call about an earlier wait, that was long on its way"),
  },
  {
    id: "H4",
    guard: "an intent of a runner that fell silent rests until it is heard again",
    file: `${SUPERVISOR}/snapshot/intents.ts`,
    find: "this.#resting.set(intent.runId, intent);",
    replace: "",
    test: suspendTest("for longer than the grace period loses its sleep, and gets it back by its next word"),
  },
  {
    id: "H4",
    guard: "a runner that is not heard of is not frozen",
    file: `${SUPERVISOR}/snapshot/intents.ts`,
    find: "if (lostMs === null || (runner !== undefined && runner.heardMs > lostMs))",
    replace: "if (lostMs === null || runner !== undefined)",
    test: suspendTest("is not frozen while its socket is lost and nothing is heard of it, and is when it is heard again"),
  },
  {
    id: "H4",
    guard: "a wait that ended meanwhile is not slept through later",
    file: `${SUPERVISOR}/snapshot/intents.ts`,
    find: "if (resting !== undefined && snapshotId > resting.snapshotId) this.#resting.delete(runId);",
    replace: "",
    test: suspendTest("and whose wait ended meanwhile is not put to sleep for the old one"),
  },
];

const PUSHES: readonly Guard[] = [
  {
    id: "H5",
    guard: "who comes back without a word is told to look",
    file: `${SUPERVISOR}/core.ts`,
    find: "sockets.notify(runner, runner.runId);",
    replace: "",
    test: { file: `${TEST}/process.test.ts`, name: "a socket that came back without a word is told of its run" },
  },
  {
    id: "H5",
    guard: "the end of a stale socket unbinds nothing",
    file: `${SUPERVISOR}/workload/sockets.ts`,
    find: "if (this.#newest.get(runner.name) !== socket) return;",
    replace: "",
    test: { file: `${TEST}/process.test.ts`, name: "a socket that came back without a word is told of its run" },
  },
  {
    id: "H5",
    guard: "a restored runner is known by the name it had before",
    file: `${SUPERVISOR}/runners/runners.ts`,
    find: "for (const alias of runner.lineage) this.#byAlias.set(alias, runner);",
    replace: "",
    test: sleepTest("wakes to the latest snapshot alone, already continued, under a new name"),
  },
  {
    id: "H6",
    guard: "a supervisor that starts again arms the sleep of waiting runs anew",
    file: `${SUPERVISOR}/snapshot/rearm.ts`,
    find: "if (watch.asked || nowMs - watch.sinceMs < PATIENCE_MS) return;",
    replace: "return;",
    test: { file: `${TEST}/restart.test.ts`, name: "while a sleep is pending: it is armed again by the waiting runner's polls" },
  },
];

const REPORTS: readonly Guard[] = [
  {
    id: "H7",
    guard: "the latest snapshot is read when the answer to the report was lost",
    file: `${SUPERVISOR}/snapshot/report.ts`,
    find: 'const learned = told === "not_reached" ? "unknown" : await learn(deps, intent, image);',
    replace: 'const learned = "unknown" as "accepted" | "refused" | "unknown";',
    test: outageTest("the answer to the report is lost: its latest word is read, and the sandbox is destroyed once"),
  },
  {
    id: "H7",
    guard: "the report is repeated until it is answered",
    file: `${SUPERVISOR}/snapshot/report.ts`,
    find: "if (leftMs <= 0) return",
    replace: "return",
    test: outageTest("the answer to the report is lost and so is the look"),
  },
  {
    id: "H7",
    guard: "a refused repeat of a report that may have been accepted decides nothing",
    file: `${SUPERVISOR}/snapshot/report.ts`,
    find: '(told === "refused" && !mayHaveHappened)',
    replace: 'told === "refused"',
    test: outageTest("a repeated report that is refused after the first was accepted does not thaw a sleeping run"),
  },
  {
    id: "H8",
    guard: "a failed restore is reported",
    file: `${SUPERVISOR}/launch/launchReports.ts`,
    find: "await this.#report(message, () => platform.restoreOutcome(at(message), { outcome, reason, message: text }));",
    replace: "void [outcome, reason, text];",
    test: restoreTest("whose memory image is gone or does not match is failed with that reason, and starts over"),
  },
  {
    id: "H9",
    guard: "a nonce counts once",
    file: `${SUPERVISOR}/snapshot/callbacks.ts`,
    find: "this.#expected.delete(snapshotCallbackNonce);",
    replace: "",
    test: { file: `${TEST}/callbacks.test.ts`, name: "count once" },
  },
  {
    id: "H10",
    guard: "a run whose sandbox could not be made is given back",
    file: `${SUPERVISOR}/launch/launcher.ts`,
    find: 'if (placement.kind === "failed") return await this.#deps.reports.givenBack(message, placement.reason, placement.message);',
    replace: 'if (placement.kind === "failed") return;',
    test: { file: `${TEST}/launch.test.ts`, name: "is given back even when the platform is away at first" },
  },
  {
    id: "H10",
    guard: "a give-back is said until it is heard",
    file: `${SUPERVISOR}/launch/launchReports.ts`,
    find: "const REPORT_ATTEMPTS = 8;",
    replace: "const REPORT_ATTEMPTS = 1;",
    test: { file: `${TEST}/launch.test.ts`, name: "is given back even when the platform is away at first" },
  },
];

const STARTS: readonly Guard[] = [
  {
    id: "H11",
    guard: "a hand-off that came to nothing is followed by a start elsewhere",
    file: `${SUPERVISOR}/launch/handOffs.ts`,
    find: "this.#deps.onMissed(message);",
    replace: "",
    test: { file: `${TEST}/warm.test.ts`, name: "cold-starts when the run has not moved by the deadline (W1)" },
  },
  {
    id: "H11",
    guard: "a poll whose connection has ended refuses the run",
    file: `${SUPERVISOR}/workload/warmDoor.ts`,
    find: 'if (seat.signal.aborted) return "refused";',
    replace: "",
    test: { file: `${TEST}/warmDoor.test.ts`, name: "whose connection had ended before the run was written refuses it at once" },
  },
  {
    id: "H12",
    guard: "a refusal of the platform is marked as final",
    file: `${SUPERVISOR}/workload/relay.ts`,
    find: 'headers: { "x-should-retry": mayRetry ? "true" : "false" },',
    replace: "",
    test: {
      file: `${TEST}/trust.test.ts`,
      name: "keep their status and are final, so that the loser of a race does not ask for half a minute",
    },
  },
  {
    id: "H13",
    guard: "metadata is answered by the address that asks",
    file: "packages/gateway/src/drivers/gvisor/metadataServer.ts",
    find: 'this.#documents.get(request.socket.remoteAddress ?? "")',
    replace: "[...this.#documents.values()].at(-1)",
    test: { file: "packages/gateway/src/drivers/gvisor/isolation.test.ts", name: "gets its own metadata and nobody else's" },
  },
  {
    id: "H14",
    guard: "a wish to sleep is only noted, and answered at once",
    file: `${SUPERVISOR}/workload/routes.ts`,
    find: "async ({ params, caller, headers }) => suspend(deps, params, caller, headers)",
    replace:
      "async ({ params, caller, headers }) => {\n      const answer = suspend(deps, params, caller, headers);\n      await deps.intents.of(params.runId)?.settled;\n      return answer;\n    }",
    test: sleepTest("answers 202 at once and freezes nothing sooner than half a second later"),
  },
  {
    id: "H14",
    guard: "nothing is frozen before the answer has left",
    file: `${SUPERVISOR}/snapshot/intents.ts`,
    find: "const delayMs = Math.max(options.delayMs ?? planned?.delayMs ?? 0, MIN_BEFORE_FREEZE_MS);",
    replace: "const delayMs = options.delayMs ?? planned?.delayMs ?? 0;",
    test: sleepTest("answers 202 at once and freezes nothing sooner than half a second later"),
  },
  {
    id: "H15",
    guard: "the run's heartbeat is sent for it while it is frozen",
    file: `${SUPERVISOR}/snapshot/heartbeat.ts`,
    find: "void platform.runHeartbeat(key, {}, { runnerId: key.runnerId });",
    replace: "void platform;",
    test: sleepTest("sends the run's heartbeat for it while it is frozen"),
  },
  {
    id: "H16",
    guard: "a second name for one checkpoint has a counter behind it",
    file: `${SUPERVISOR}/launch/names.ts`,
    find: '${number > 1 ? `-${number}` : ""}`;',
    replace: "`;",
    test: restoreTest("handed out twice with the same checkpoint never gets the same runner name"),
  },
];

const ENDS: readonly Guard[] = [
  {
    id: "H17",
    guard: "the image of a run that ended while it slept is swept",
    file: `${SUPERVISOR}/snapshot/sweeper.ts`,
    find: "await gateway.removeImage(imageId);",
    replace: "void gateway;",
    test: restoreTest("cancelled while asleep: its image is swept at once, however young it is (L7)"),
  },
  {
    id: "H17",
    guard: "the image of a suspension that was refused is deleted",
    file: `${SUPERVISOR}/snapshot/sleeper.ts`,
    find: "await this.#undo(intent, image);",
    replace: "this.#awake(intent);",
    test: sleepTest("after its memory is written and before the report: the platform refuses, it is thawed and the files are deleted"),
  },
  {
    id: "H18",
    guard: "whatever is reported of a run that is being cancelled, it ends as cancelled",
    file: "packages/engine/src/domain/completion.ts",
    find: 'if (facts.isCanceling) return { kind: "cancel" };',
    replace: "",
    test: { file: "packages/engine/test/cancel.test.ts", name: "ends it as cancelled even if the runner reports" },
  },
];

export const HOLES: readonly Guard[] = [...CANCELS, ...PUSHES, ...REPORTS, ...STARTS, ...ENDS];
