import { SeededRandom } from "../kernel/seededRandom.ts";
import type { VirtualTime } from "../kernel/virtualTime.ts";
import type { Fault, LinkName } from "../scenario/scenario.ts";

/** What becomes of one message. */
export interface Fate {
  readonly loses: "request" | "answer" | null;
  /** Its loss is noticed at once; otherwise the caller's patience runs out. */
  readonly reset: boolean;
  readonly delayMs: number;
  readonly answerDelayMs: number;
  readonly doubledAfterMs: number | null;
}

type LinkFault = Fault & { readonly kind: "link" };

/** Decides what becomes of each message, by the windows of the scenario. */
export class LinkFaults {
  readonly #time: VirtualTime;
  readonly #random: SeededRandom;
  readonly #byLink = new Map<LinkName, { readonly fault: LinkFault; readonly random: SeededRandom }[]>();

  constructor(deps: { time: VirtualTime; seed: number; faults: readonly Fault[] }) {
    this.#time = deps.time;
    this.#random = new SeededRandom(deps.seed, "network");
    for (const fault of deps.faults) {
      if (fault.kind !== "link") continue;
      const random = new SeededRandom(deps.seed, JSON.stringify(fault)); // a fault of its own: the others do not change it
      this.#byLink.set(fault.link, [...(this.#byLink.get(fault.link) ?? []), { fault, random }]);
    }
  }

  fateOf(link: LinkName): Fate {
    const nowMs = this.#time.nowMs;
    let loses: Fate["loses"] = null;
    let reset = false;
    let doubledAfterMs: number | null = null;
    let delayMs = 0.5 + this.#random.unit() * 2;
    let answerDelayMs = 0.5 + this.#random.unit() * 2;
    for (const { fault, random } of this.#byLink.get(link) ?? []) {
      if (nowMs < fault.fromMs || nowMs >= fault.toMs || !random.chance(fault.probability)) continue;
      if (fault.effect === "lose_request") loses = "request";
      else if (fault.effect === "lose_answer") loses ??= "answer";
      else if (fault.effect === "double") doubledAfterMs = random.unit() * fault.delayMs;
      else if (random.chance(0.5)) delayMs += random.unit() * fault.delayMs;
      else answerDelayMs += random.unit() * fault.delayMs;
      reset = random.chance(0.5);
    }
    return { loses, reset, delayMs, answerDelayMs, doubledAfterMs };
  }
}
