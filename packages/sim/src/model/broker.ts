// Idle runners of one node: whoever polls may be given a run, and its supervisor says what became of it.
import { warmStart, WARM_START_HEADERS, TorporError, type DequeuedMessage, type HandOverOutcome } from "@torpor/contracts";
import type { VirtualTime } from "../kernel/virtualTime.ts";
import { mounter, type Mounted } from "@torpor/http";

const mount = mounter<Record<never, never>>();

const SETTLED_WITHIN_MS = 1_100;

interface Poll {
  readonly give: (message: DequeuedMessage | null) => void;
  readonly signal: AbortSignal;
}

export class BrokerModel {
  readonly #polls = new Map<string, Poll>();
  readonly #expected = new Map<string, (outcome: HandOverOutcome) => void>();
  readonly #time: VirtualTime;

  constructor(time: VirtualTime) {
    this.#time = time;
  }

  routes(): Mounted[] {
    return [
      mount(warmStart.connect, async () => ({ connectionTimeoutMs: 20_000, keepaliveMs: 60_000 })),
      mount(warmStart.poll, async ({ headers, signal }) => {
        const message = await this.#wait(String(headers[WARM_START_HEADERS.controllerId]), signal);
        if (message === null) throw new TorporError("no_capacity", "Cannot wait for a run: another poll took the place of this one");
        return message;
      }),
      mount(warmStart.dispatch, async ({ body }) => {
        const { dequeuedMessage } = body;
        const found = [...this.#polls].findLast(([, poll]) => !poll.signal.aborted);
        if (found === undefined || dequeuedMessage.checkpoint !== undefined) return { didWarmStart: false };
        const [controllerId, poll] = found;
        this.#polls.delete(controllerId);
        const outcome = this.#outcomeOf(controllerId, dequeuedMessage.run.friendlyId);
        poll.give(dequeuedMessage);
        if ((await outcome) !== "started") return { didWarmStart: false };
        return { didWarmStart: true, controllerId, acknowledged: true };
      }),
      mount(warmStart.settle, async ({ body }) => {
        this.#expected.get(`${body.controllerId} ${body.runId}`)?.(body.outcome);
        return { ok: true as const };
      }),
    ];
  }

  /** What the supervisor of that runner says; `silent` when it says nothing in time. */
  #outcomeOf(controllerId: string, runId: string): Promise<HandOverOutcome> {
    const key = `${controllerId} ${runId}`;
    return new Promise((resolve) => {
      const settle = (outcome: HandOverOutcome): void => {
        this.#expected.delete(key);
        resolve(outcome);
      };
      this.#expected.set(key, settle);
      this.#time.after(SETTLED_WITHIN_MS, () => settle("silent"));
    });
  }

  #wait(controllerId: string, signal: AbortSignal): Promise<DequeuedMessage | null> {
    this.#polls.get(controllerId)?.give(null);
    return new Promise((resolve) => {
      const poll = { give: resolve, signal };
      this.#polls.set(controllerId, poll);
      signal.addEventListener("abort", () => {
        if (this.#polls.get(controllerId) === poll) this.#polls.delete(controllerId);
        resolve(null);
      });
    });
  }
}
