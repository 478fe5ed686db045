// Calls between simulated processes: the declared routes, with everything that a network does to them.
import type { ReplyOf, Route } from "@torpor/contracts";
import type { CallInput, CallOutcome } from "@torpor/http";
import type { RouteCaller } from "@torpor/supervisor";
import type { SimProcess } from "../kernel/simProcess.ts";
import type { VirtualTime } from "../kernel/virtualTime.ts";
import type { LinkName } from "../scenario/scenario.ts";
import type { LinkFaults } from "./linkFaults.ts";
import { keyOf, type Endpoint, type Message, type NetworkWatcher, type WireOutcome } from "./message.ts";
import { PendingCall } from "./pendingCall.ts";
import { read } from "./wire.ts";

export interface CallOptions {
  readonly link: LinkName;
  readonly from: SimProcess;
  readonly to: () => Endpoint | null;
  readonly remoteAddress?: string;
  /** Sent with every call. */
  readonly headers?: Readonly<Record<string, string>>;
}

export interface NetworkParts {
  readonly time: VirtualTime;
  readonly faults: LinkFaults;
  readonly watcher: NetworkWatcher;
}

export class Network {
  readonly #parts: NetworkParts;

  constructor(parts: NetworkParts) {
    this.#parts = parts;
  }

  /** A client as the parts' own code uses it. */
  caller(options: CallOptions): RouteCaller {
    return {
      call: async <R>(declared: R, input: CallInput<R> = {}): Promise<CallOutcome<ReplyOf<R>>> => {
        const message = messageOf(options, declared as Route, input as CallInput<Route>);
        const outcome = await this.#begin(message, options.to);
        return (outcome.kind === "unreachable" ? outcome : read(message, outcome.answer)) as CallOutcome<ReplyOf<R>>;
      },
    };
  }

  /** One call. Settles never when its caller dies. */
  call(options: CallOptions, route: Route, input: CallInput<Route>): Promise<WireOutcome> {
    return this.#begin(messageOf(options, route, input), options.to);
  }

  #begin(message: Message, to: CallOptions["to"]): Promise<WireOutcome> {
    return new Promise((resolve) => {
      if (message.from.alive) new PendingCall(this.#parts, message, { to, resolve }).begin();
    });
  }
}

function messageOf({ from, link, remoteAddress = "127.0.0.1", headers }: CallOptions, route: Route, input: CallInput<Route>): Message {
  return { link, from, route, name: keyOf(route), input, headers: { ...headers, ...input.headers } as Message["headers"], remoteAddress };
}
