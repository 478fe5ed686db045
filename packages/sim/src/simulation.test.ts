// Thousands of planes in simulated time: the real supervisors and gateways, and everything that can go wrong.
import { afterAll, describe, expect, it } from "vitest";
import { openFindingOf } from "./openFindings.ts";
import { printFailure } from "./printFailure.ts";
import type { ProfileName } from "./scenario/profiles.ts";
import { SimPool } from "./simPool.ts";
import { SimThread } from "./simThread.ts";

/** Far more than it takes on a machine that has nothing else to do. */
const LONG_MS = 900_000;
const SEEDS = 5_000;

const pool = new SimPool();
afterAll(() => pool.close());

async function failuresOf(fromSeed: number, count: number, profile: ProfileName): Promise<string[]> {
  const { failures } = await pool.run({ fromSeed, count, profile, shrinks: false, stopsAtFirst: false });
  const first = failures.find((failure) => openFindingOf(failure) === undefined);
  return first === undefined ? [] : printFailure(first).slice(0, 60);
}

describe("simulation", () => {
  it(
    "of 5 000 planes in which messages are lost, doubled and late, processes are killed, disks are full and clocks jump breaks no law but where a finding is open",
    async () => {
      expect(await failuresOf(1, SEEDS, "mixed")).toEqual([]);
    },
    LONG_MS,
  );

  it.for<ProfileName>([
    "calm",
    "wakes",
    "givingUp",
    "crashes",
    "holds",
    "restores",
    "sockets",
    "restarts",
    "blindRestarts",
    "forgeries",
    "warm",
    "stale",
    "lateCommits",
    "slowSaves",
    "slowDestroys",
    "rivals",
  ])("breaks no law where each scenario is about one danger: %s", { timeout: LONG_MS }, async (profile) => {
    expect(await failuresOf(1, 50, profile)).toEqual([]);
  });

  it.for<readonly [why: string, profile: ProfileName, seed: number]>([
    ["a wish to sleep that was lost on its way left its run awake (L3)", "sockets", 3129],
    ["a runner was frozen amid a request that had come before a new supervisor knew it (L1)", "mixed", 2240],
    ["a commit that was repeated while the original was being destroyed made the image restorable too early (L5)", "mixed", 507],
    ["an image outlived its run for an hour after somebody had put the clock back (L7)", "mixed", 260],
    ["a late completion of an earlier attempt cancelled the sleep of the next one (L2)", "stale", 17],
    ["a runner that had been sent away held its run again by a late word, so the run started nowhere (L12)", "givingUp", 8],
    ["a repeated request for a run took one, although nobody read its answer and its connection said so (L12)", "mixed", 3003],
    ["a runner that died in its second run was held against the attempt of its first, and nobody was told (L8)", "mixed", 11492],
    ["a restored runner that spoke before it was found was shown its own sleep, and left its run (L8)", "blindRestarts", 45],
    ["a gateway did not start because its first callback was delivered while it read what an earlier one had left", "mixed", 397],
    ["a memory image was restorable again after its run had gone on in a sandbox that was made ready ahead (L6)", "mixed", 3076],
    ["a clock that was put back had a sandbox made ready an hour ahead, and it outlived its run (L7)", "mixed", 237],
    ["a run that had gone on elsewhere fell asleep again, and who was ready for its former sleep stayed (L7)", "mixed", 4502],
    ["a runner that was ready ahead ended its attempt, and was called all the same (L8)", "mixed", 960],
    ["a memory image that was asked for while its folder was renamed was taken for damaged and deleted (L11)", "mixed", 3811],
    [
      "a sandbox that was removed while its snapshot was being undone on a slow disk was thawed once more, and nobody was told",
      "mixed",
      22461,
    ],
    [
      "a report whose answer was lost was refused at its next try, and what the platform thinks was not known yet (the check of L1)",
      "mixed",
      23009,
    ],
    ["a simulated machine did not hear of a cancel that came before it began to save (the played driver)", "mixed", 28575],
    ["a start whose request was lost was missed before its runner or the engine could miss it (the check of L12)", "mixed", 33724],
    ["a gateway did not start because its machine refused once to destroy what an earlier one had left", "mixed", 15261],
    ["a run that was handed to a supervisor that died was missed before its engine could miss it (the check of L12)", "mixed", 11486],
    ["a run that ended itself just before it was continued, handed out ahead of its wait's end, was started over (L11)", "calm", 18],
    ["a run that ended itself while its continue was waited for, restored in the ordinary way, was started over (L11)", "calm", 94],
    ["a runner whose sandbox was found while it had a request open was frozen amid that (L1)", "mixed", 59132],
    ["a late copy of an earlier start was to end the wait that came after it (the check of L1)", "mixed", 125132],
    ["a node that had been killed twice began its gateway twice, and both read what one had left (the played node)", "mixed", 126822],
    ["a run moved on between the look at it and the report that its runner was lost, and nobody looked again (L8)", "mixed", 155588],
    ["a completion waited for a look that was held back before it undid a freeze (L1)", "mixed", 143845],
    [
      "a runner that began a run as it was handed out before was taken for the one that had it since, and nobody started it (L12)",
      "mixed",
      70486,
    ],
    ["a restored runner was taken for an earlier one from its memory, and refused in all that it said of its run (L12)", "mixed", 138300],
    [
      "a sandbox that was being made ready ahead while its supervisor was started again went on from a reserved image (L6)",
      "mixed",
      210163,
    ],
  ])("holds where it once did not: %s", { timeout: LONG_MS }, async ([, profile, seed]) => {
    expect(await failuresOf(seed, 1, profile)).toEqual([]);
  });

  it(
    "is the same history, entry by entry, for the same seed in another thread",
    async () => {
      const threads = [new SimThread(null), new SimThread(null)];
      try {
        for (const [profile, seed] of [
          ["mixed", 1],
          ["mixed", 42],
          ["crashes", 7],
          ["warm", 3],
        ] as const) {
          const [first, second] = await Promise.all(threads.map((thread) => thread.ask({ kind: "hash", seed, profile })));
          expect(first).toEqual(second);
          expect(first?.entries).toBeGreaterThan(20);
        }
      } finally {
        await Promise.all(threads.map((thread) => thread.close()));
      }
    },
    LONG_MS,
  );
});
