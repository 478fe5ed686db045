// A small broker: it gives a run to whoever polled last, fits or not, and waits for the word of that one's supervisor.
import { warmStart, WARM_START_HEADERS, type DequeuedMessage, type HandOverOutcome } from "@torpor/contracts";
import { mounter, type Mounted } from "@torpor/http";
import { TorporError } from "@torpor/contracts";

const mount = mounter<Record<never, never>>();

export class FakeBroker {
  /** Who waits, by controller id, with the headers of its newest poll. */
  readonly waiting = new Map<
    string,
    { readonly headers: Readonly<Record<string, unknown>>; readonly give: (m: DequeuedMessage) => void }
  >();
  readonly settled: { readonly controllerId: string; readonly runId: string; readonly outcome: HandOverOutcome }[] = [];
  /** False: it finds nobody, whoever waits. */
  gives = true;
  readonly #expected = new Map<string, (outcome: HandOverOutcome) => void>();

  routes(): Mounted[] {
    return [
      mount(warmStart.connect, async () => ({ connectionTimeoutMs: 10_000, keepaliveMs: 30_000 })),
      mount(warmStart.poll, async ({ headers, signal }) => await this.#poll(headers, signal)),
      mount(warmStart.dispatch, async ({ body }) => await this.#dispatch(body.dequeuedMessage)),
      mount(warmStart.settle, async ({ body }) => {
        this.settled.push(body);
        this.#expected.get(`${body.controllerId} ${body.runId}`)?.(body.outcome);
        return { ok: true as const };
      }),
    ];
  }

  async #poll(headers: Readonly<Record<string, unknown>>, signal: AbortSignal): Promise<DequeuedMessage> {
    const controllerId = String(headers[WARM_START_HEADERS.controllerId]);
    return await new Promise((give, reject) => {
      const entry = { headers, give };
      this.waiting.set(controllerId, entry);
      signal.addEventListener("abort", () => {
        if (this.waiting.get(controllerId) === entry) this.waiting.delete(controllerId);
        reject(new TorporError("no_capacity", "Cannot wait any longer"));
      });
    });
  }

  async #dispatch(message: DequeuedMessage) {
    for (;;) {
      const [controllerId, entry] = [...this.waiting].at(-1) ?? [];
      if (!this.gives || controllerId === undefined || entry === undefined) return { didWarmStart: false };
      this.waiting.delete(controllerId);
      const outcome = new Promise<HandOverOutcome>((resolve) => this.#expected.set(`${controllerId} ${message.run.friendlyId}`, resolve));
      entry.give(message);
      if ((await outcome) === "started") return { didWarmStart: true, controllerId, acknowledged: true };
    }
  }
}
