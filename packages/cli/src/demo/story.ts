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

/** What the demo shows: each kind of wait, a retry, and a cancellation. */
export const STORY: readonly StoryRun[] = [
  {
    label: "nap",
    task: "nap",
    payload: { seconds: 20 },
    ends: "COMPLETED",
    proves: "50 MB of memory, files, a random number and a place in a loop survive 20 s without a process",
  },
  {
    label: "token",
    task: "token",
    payload: {},
    outside: { action: "complete_token", afterMs: 4_000 },
    ends: "COMPLETED",
    proves: "somebody outside wakes a run",
  },
  { label: "parent", task: "parent", payload: { seconds: 12 }, ends: "COMPLETED", proves: "a parent sleeps while its four children sleep" },
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
