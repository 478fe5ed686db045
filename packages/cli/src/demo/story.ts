/** A run of the demo, and what its user does while it sleeps. */
export interface StoryRun {
  readonly label: string;
  readonly task: string;
  readonly payload: Readonly<Record<string, unknown>>;
  /** What happens to it from outside, some time after it has fallen asleep. */
  readonly outside?: { readonly action: "complete_token" | "cancel"; readonly afterMs: number };
  /** How it must end. */
  readonly ends: "COMPLETED" | "CANCELED";
  readonly proves: string;
}

/** How long a machine with nothing else to do takes to boot the sandbox of the demo, at most. */
const QUIET_BOOT_MS = 4_000;
const SLOWEST = 5;

/**
 * How many times slower than a quiet machine this one is now: naps must be long enough to be slept through. 1: as it should be.
 * `bootMs`: what booting a sandbox took here; undefined: it is not known.
 */
export function paceOf(bootMs: number | undefined): number {
  return bootMs === undefined ? 1 : Math.min(SLOWEST, Math.max(1, bootMs / QUIET_BOOT_MS));
}

/** What the demo shows: each kind of wait, a retry, and a cancellation. On a slower machine naps are longer. */
export function storyFor(pace: number): readonly StoryRun[] {
  const napSeconds = Math.round(20 * pace);
  return [
    {
      label: "nap",
      task: "nap",
      payload: { seconds: napSeconds, slackSeconds: Math.round(10 * pace) },
      ends: "COMPLETED",
      proves: `50 MB of memory, files, a random number and a place in a loop survive ${napSeconds} s without a process`,
    },
    {
      label: "token",
      task: "token",
      payload: {},
      outside: { action: "complete_token", afterMs: 4_000 },
      ends: "COMPLETED",
      proves: "somebody outside wakes a run",
    },
    {
      label: "parent",
      task: "parent",
      payload: { seconds: Math.round(12 * pace) },
      ends: "COMPLETED",
      proves: "a parent sleeps while its four children sleep",
    },
    { label: "flaky", task: "flaky", payload: {}, ends: "COMPLETED", proves: "two failures, each retried later, then success" },
    {
      label: "cancelled",
      task: "cancelled",
      payload: {},
      outside: { action: "cancel", afterMs: 3_000 },
      ends: "CANCELED",
      proves: "a sleeping run is cancelled without being woken",
    },
  ];
}
