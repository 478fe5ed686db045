// A whole plane in one thread: the real supervisors and gateways, the models around them, and what goes wrong.
import type { Log } from "@torpor/observe";
import { Checks } from "../checks/checks.ts";
import { History } from "../kernel/history.ts";
import { SimProcess } from "../kernel/simProcess.ts";
import { VirtualTime } from "../kernel/virtualTime.ts";
import { EngineModel } from "../model/engine.ts";
import type { GuestHost } from "../model/guestHost.ts";
import { platformRoutes } from "../model/platformRoutes.ts";
import { LinkFaults } from "../network/linkFaults.ts";
import { routeMap, type Endpoint } from "../network/message.ts";
import { Network } from "../network/network.ts";
import type { Scenario } from "../scenario/scenario.ts";
import type { Context } from "./context.ts";
import { FaultRunner } from "./faultRunner.ts";
import { SimNode } from "./simNode.ts";
import { Watcher } from "./watcher.ts";

export interface Violation {
  readonly law: string;
  readonly text: string;
  readonly atMs: number;
}

export interface Outcome {
  readonly violations: readonly Violation[];
  readonly history: History;
  readonly virtualMs: number;
  readonly eventCount: number;
  /** How each run ended. */
  readonly ends: readonly string[];
}

/** After this, with nothing going wrong, every run has ended: longer than a stall and every retry within it. */
const END_WITHIN_MS = 1_500_000;
/** After the last end of a run, all that it left is gone: a runner whose answer was lost without a word asks again after 300 s. */
const CLEAN_WITHIN_MS = 700_000;
const CLEAN_LOOK_MS = 5_000;
/** Far more than any run needs: a loop without end. */
const MAX_EVENTS = 400_000;

export class Plane {
  readonly context: Context;
  readonly nodes: readonly SimNode[];
  readonly watcher: Watcher;
  readonly checks: Checks;
  readonly #faults: FaultRunner;
  readonly #violations: Violation[] = [];
  #platform: Endpoint | null = null;
  #platformGeneration = 0;

  constructor(scenario: Scenario) {
    const { seed, settings } = scenario;
    const time = new VirtualTime();
    const history = new History(() => time.nowMs);
    const linkFaults = new LinkFaults({ time, seed, faults: scenario.faults });
    const network: Network = new Network({
      time,
      faults: linkFaults,
      watcher: {
        sent: (message) => this.watcher.sent(message),
        arrived: (message, at) => this.watcher.arrived(message, at),
        closed: (message, at) => this.watcher.closed(message, at),
        served: (message, answer) => this.watcher.served(message, answer),
        answered: (message, answer) => this.watcher.answered(message, answer),
        unanswered: (message, happened) => this.watcher.unanswered(message, happened),
        failed: (message, error) => this.watcher.failed(message, error),
      },
    });
    const engine: EngineModel = new EngineModel({
      time,
      seed,
      settings,
      listener: {
        advanced: (run, event, by) => this.#advanced(run, event, by),
        notify: (runId) => this.nodes.forEach((node) => node.subscriptions.notify(runId)),
      },
    });
    this.context = {
      scenario,
      settings,
      seed,
      time,
      history,
      engine,
      network,
      point: (name, facts) => {
        history.add("point", name, { ...facts });
        this.checks.point(name, facts);
        this.#faults.point(name, facts);
      },
      violation: (law, text) => {
        history.add("checker", "VIOLATION", { law, text });
        this.#violations.push({ law, text, atMs: time.nowMs });
      },
      log: (who) => this.#log(who),
    };
    this.nodes = Array.from({ length: settings.nodes }, (_, index) => new SimNode(this.context, index, () => this.#platform));
    this.checks = new Checks(this);
    this.watcher = new Watcher(this.context, this.checks);
    const guestHost = this.#guestHost();
    for (const node of this.nodes) node.machine.guestHost = guestHost;
    this.#faults = new FaultRunner(this.context, this);
  }

  /** Runs the scenario to its end. */
  async run(): Promise<Outcome> {
    const { time, scenario, engine, history } = this.context;
    this.#startPlatform();
    for (const node of this.nodes) {
      node.startGateway();
      node.startSoon("supervisor", 0);
    }
    scenario.runs.forEach((plan, index) => time.after(plan.triggerAtMs, () => void engine.trigger(index, plan)));
    this.#watchTheEnd();
    await time.run(() => this.#over || this.#violations.length > 0 || time.eventCount > MAX_EVENTS);
    if (time.eventCount > MAX_EVENTS) this.context.violation("liveness", `it goes on and on: ${MAX_EVENTS} events`);
    for (const node of this.nodes) {
      node.killSupervisor();
      node.killGateway();
    }
    const ends = [...engine.runs.values()].map(({ runStatus, attempt }) => `${runStatus}/${attempt}`);
    return { violations: this.#violations, history, virtualMs: time.nowMs, eventCount: time.eventCount, ends };
  }

  restartPlatform(downMs: number): void {
    this.#platform?.process.kill();
    this.#platform = null;
    for (const node of this.nodes) node.subscriptions.disconnect(downMs + 1_000);
    this.context.time.after(downMs, () => this.#startPlatform());
  }

  #over = false;

  #startPlatform(): void {
    if (this.#platform !== null) return;
    const { time, seed, engine } = this.context;
    const process = new SimProcess({ name: "platform", generation: ++this.#platformGeneration, seed, time, wall: { offsetMs: 0 } });
    this.#platform = { process, routes: routeMap(platformRoutes(engine)), authenticate: async () => null };
  }

  #watchTheEnd(): void {
    const { time, scenario, engine, settings } = this.context;
    let cleanUntilMs: number | null = null;
    const look = (): void => {
      const { nowMs } = time;
      this.checks.look();
      const hasEnded = engine.runs.size === scenario.runs.length && [...engine.runs.values()].every((run) => run.hasEnded);
      if (!hasEnded && nowMs > scenario.quietAtMs + END_WITHIN_MS) {
        const stuck = [...engine.runs.values()].filter((run) => !run.hasEnded).map((run) => `${run.id} is ${run.status}`);
        return this.context.violation("liveness", `not every run has ended: ${stuck.join(", ")}`);
      }
      if (hasEnded) {
        this.#faults.cease();
        cleanUntilMs ??= nowMs + CLEAN_WITHIN_MS + settings.holdMs;
        const left = this.checks.leftovers();
        if (left.length === 0) {
          this.#over = true;
          return;
        }
        if (nowMs > cleanUntilMs) return this.context.violation("L7", `something is left: ${left.join(", ")}`);
      }
      time.after(CLEAN_LOOK_MS, look);
    };
    time.after(CLEAN_LOOK_MS, look);
  }

  #advanced(run: Parameters<Checks["advanced"]>[0], event: Parameters<Checks["advanced"]>[1], by: Parameters<Checks["advanced"]>[2]): void {
    const { history } = this.context;
    history.add("engine", event, { run: run.id, status: run.status, attempt: run.attempt, by: by?.runnerId ?? by?.node ?? null });
    this.checks.advanced(run, event, by);
    if (event === "dequeue") this.context.point("handed_out", { runId: run.id, node: Number(by?.node.slice(4) ?? 0) });
    if (event === "continue") this.context.point("continued", { runId: run.id, node: Number(by?.node.slice(4) ?? 0) });
    if (event === "start") this.context.point("started", { runId: run.id, node: Number(by?.node.slice(4) ?? 0) });
  }

  #guestHost(): GuestHost {
    const { settings, scenario, time, network, history, engine } = this.context;
    return {
      pollMs: settings.pollSeconds * 1000,
      heartbeatMs: settings.heartbeatSeconds * 1000,
      guestClock: settings.guestClock,
      nowMs: () => time.nowMs,
      later: (delayMs, fire) => void time.after(delayMs, fire),
      socketServer: (node) => this.nodes[node]?.socketServer() ?? null,
      call: (options, route, input) => {
        const node = this.nodes[Number(/node(\d+)/.exec(options.from.name)?.[1] ?? 0)];
        const to = options.link === "runner>platform" ? () => this.#platform : () => node?.supervisorEndpoint() ?? null;
        return network.call({ ...options, to }, route, input);
      },
      planOf: (index) => {
        const plan = scenario.runs[index];
        if (plan === undefined) throw new Error(`Cannot find plan ${index}`);
        return plan;
      },
      planIndexOf: (runId) => engine.run(runId).index,
      stepped: (sandboxId, execution) => {
        history.add(sandboxId, "user step", { run: execution.runId, attempt: execution.attempt, position: execution.position });
        this.checks.stepped(sandboxId, execution);
      },
      noted: (sandboxId, what, facts) => {
        history.add(sandboxId, what, facts);
        this.checks.noted(sandboxId, what, facts);
      },
    };
  }

  #log(who: string): Log {
    const { history } = this.context;
    const log: Log = {
      debug: () => undefined,
      info: () => undefined,
      warn: (fields, message) => history.add(who, `warns: ${message}`, plain(fields)),
      error: (fields, message) => {
        history.add(who, `error: ${message}`, plain(fields));
        if (message.includes("unforeseen"))
          this.context.violation("unforeseen", `${who}: ${message}: ${String((fields["err"] as Error | undefined)?.stack ?? "")}`);
      },
      with: () => log,
    };
    return log;
  }
}

function plain(fields: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, value instanceof Error ? value.message : value]));
}
