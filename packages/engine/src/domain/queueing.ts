// Places in a queue.

/** Place of a run: when it was put in, put forward (or back) by its priority in seconds. Lower goes first, and none goes before its time has come. */
export function scoreAt(enqueuedAt: Date, prioritySeconds: number): Date {
  return new Date(enqueuedAt.getTime() - prioritySeconds * 1000);
}

export interface GiveBackSettings {
  /** The hand-out without a start with which the run is given up. */
  readonly budget: number;
  readonly baseMs: number;
  readonly factor: number;
  readonly maxMs: number;
}

export type GiveBackDecision = { readonly kind: "requeue"; readonly delayMs: number } | { readonly kind: "giveUp" };

/** The first time another node may try at once: most hand-outs fail because of the node. After that the waits grow. */
export function decideGiveBack(times: number, settings: GiveBackSettings): GiveBackDecision {
  if (times >= settings.budget) return { kind: "giveUp" };
  if (times <= 1) return { kind: "requeue", delayMs: 0 };
  return { kind: "requeue", delayMs: Math.min(settings.baseMs * settings.factor ** (times - 2), settings.maxMs) };
}

/** Name of a task's own queue: what stands in no name is replaced, as the SDK's users see it. */
export function taskQueueName(task: string): string {
  return `task/${sanitizeQueueName(task)}`;
}

export function sanitizeQueueName(name: string): string {
  return name.replaceAll(/[^a-zA-Z0-9_\-/]/g, "").slice(0, 250);
}
