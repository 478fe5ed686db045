// One node: its machine, its gateway, its supervisor and its broker, each a process that can be killed and started again.
import { createGraph, recover, type Graph, type ImageSource, type SandboxExit } from "@torpor/gateway";
import { CALLBACK_SIGNATURE_HEADER, gateway as gatewayRoutes, WORKER_HEADERS, type Route } from "@torpor/contracts";
import { begin, createCore, drain, snapshotComplete, type Core, type RunnerSocket, type SupervisorConfig } from "@torpor/supervisor";
import { Disk } from "../disk/disk.ts";
import { mount } from "../disk/memoryFs.ts";
import { SimProcess, type WallClock } from "../kernel/simProcess.ts";
import { BrokerModel } from "../model/broker.ts";
import { SimDriver } from "../model/simDriver.ts";
import { routeMap, type Endpoint } from "../network/message.ts";
import { NO_METRICS, type Context } from "./context.ts";
import { gatewayConfig, supervisorConfig } from "./nodeConfig.ts";
import { SimMachine } from "./simMachine.ts";
import { Subscriptions } from "./subscriptions.ts";

const SUPERVISOR_START_MS = 150;
const GATEWAY_START_MS = 120;

const IMAGES: ImageSource = {
  find: async (reference) => ({
    digest: reference.slice(-64),
    rootfs: "/",
    args: ["node"],
    workingDir: "/",
    user: { uid: 1000, gid: 1000 },
    env: {},
  }),
};

interface RunningSupervisor {
  readonly process: SimProcess;
  readonly core: Core;
  readonly endpoint: Endpoint;
  readonly stop: AbortController;
}

interface RunningGateway {
  readonly process: SimProcess;
  readonly graph: Graph;
  readonly endpoint: Endpoint;
}

export class SimNode {
  readonly index: number;
  readonly name: string;
  readonly machine: SimMachine;
  readonly disk: Disk;
  readonly wall: WallClock = { offsetMs: 0 };
  readonly subscriptions: Subscriptions;
  readonly #context: Context;
  readonly #platform: () => Endpoint | null;
  readonly #broker: Endpoint | null;
  #supervisor: RunningSupervisor | null = null;
  #gateway: RunningGateway | null = null;
  #generation = 0;

  constructor(context: Context, index: number, platform: () => Endpoint | null) {
    const { scenario, seed, time } = context;
    this.index = index;
    this.name = `node${index}`;
    this.#context = context;
    this.#platform = platform;
    this.disk = new Disk({ time, seed, node: index, faults: scenario.faults });
    mount(`/sim/${this.name}`, this.disk);
    this.machine = new SimMachine(context, this);
    this.#broker = context.settings.warmStarts ? this.#startBroker() : null;
    this.subscriptions = new Subscriptions(context, this);
  }

  get core(): Core | null {
    return this.#supervisor?.core ?? null;
  }

  get graph(): Graph | null {
    return this.#gateway?.graph ?? null;
  }

  supervisorEndpoint = (): Endpoint | null => this.#supervisor?.endpoint ?? null;
  gatewayEndpoint = (): Endpoint | null => this.#gateway?.endpoint ?? null;
  brokerEndpoint = (): Endpoint | null => this.#broker;

  socketServer(): { readonly process: SimProcess; accept(socket: RunnerSocket): void } | null {
    const supervisor = this.#supervisor;
    if (supervisor === null) return null;
    return { process: supervisor.process, accept: (socket) => void supervisor.core.sockets.accept(socket) };
  }

  process(part: string): SimProcess {
    const { seed, time } = this.#context;
    return new SimProcess({ name: `${part}@${this.name}`, generation: ++this.#generation, seed, time, wall: this.wall });
  }

  startSupervisor(): void {
    if (this.#supervisor !== null) return;
    const process = this.process("supervisor");
    const config = supervisorConfig(this.#context.settings, this.name);
    const stop = new AbortController();
    const core = this.#buildCore(config, process, stop);
    core.sockets.handle(core.socketHandlers);
    const endpoint: Endpoint = {
      process,
      routes: routeMap(core.routes),
      authenticate: async (route, { headers, remoteAddress }) =>
        route.auth === "sandbox" ? await core.authenticators.sandbox({ headers, remoteAddress, params: {}, rawBody: undefined }) : null,
      onRequest: (headers, remoteAddress) => core.trackRequest(headers, remoteAddress),
    };
    this.#supervisor = { process, core, endpoint, stop };
    this.#context.history.add(process.name, "started");
    void begin(config, core, { deps: this.#deps(process), stop: stop.signal }).catch((error: unknown) =>
      this.#context.violation("unforeseen", `the supervisor did not start: ${String(error)}`),
    );
  }

  killSupervisor(): void {
    if (this.#supervisor === null) return;
    this.#context.history.add(this.#supervisor.process.name, "killed");
    this.#supervisor.process.kill();
    this.#supervisor = null;
    this.subscriptions.clear();
  }

  /** As at SIGTERM: it says goodbye, and is gone. */
  async drainSupervisor(): Promise<void> {
    const supervisor = this.#supervisor;
    if (supervisor === null) return;
    const { process, core, stop } = supervisor;
    this.#context.history.add(process.name, "draining");
    await drain(supervisorConfig(this.#context.settings, this.name), core, { deps: this.#deps(process), stop });
    if (this.#supervisor === supervisor) this.killSupervisor();
  }

  startGateway(): void {
    if ((this.#gateway ?? this.#starting) !== null) return; // it has locked its folder from its first moment on
    const process = this.process("gateway");
    const graph = createGraph(gatewayConfig(this.#context.settings, this.name), {
      ...this.#deps(process),
      driver: new SimDriver(this.machine, process),
      images: IMAGES,
      post: (_url, body, headers, signal) => this.#post(process, body, headers, signal),
    });
    const endpoint: Endpoint = { process, routes: routeMap(graph.routes), authenticate: async () => null };
    this.#context.history.add(process.name, "started");
    const running = { process, graph, endpoint };
    this.#starting = running;
    void recover(graph)
      .then(() => {
        if (this.#starting === running && process.alive) this.#gateway = running;
      })
      .catch((error: unknown) => this.#context.violation("unforeseen", `the gateway did not start: ${(error as Error).stack}`));
  }

  #starting: RunningGateway | null = null;

  killGateway(): void {
    const running = this.#gateway ?? this.#starting;
    if (running === null) return;
    this.#context.history.add(running.process.name, "killed");
    running.process.kill();
    this.disk.kill();
    this.machine.onExit = null;
    this.#gateway = null;
    this.#starting = null;
  }

  /** Starts whichever part is not there, a little later. */
  startSoon(part: "supervisor" | "gateway", afterMs: number): void {
    this.#context.time.after(afterMs + (part === "supervisor" ? SUPERVISOR_START_MS : GATEWAY_START_MS), () =>
      part === "supervisor" ? this.startSupervisor() : this.startGateway(),
    );
  }

  exited(exit: SandboxExit): void {
    this.machine.onExit?.(exit);
  }

  #deps(process: SimProcess) {
    return { clock: process.clock, random: process.random, log: this.#context.log(process.name), metrics: NO_METRICS };
  }

  #buildCore(config: SupervisorConfig, process: SimProcess, stop: AbortController): Core {
    const { network } = this.#context;
    const headers = { [WORKER_HEADERS.instanceName]: this.name };
    return createCore(config, {
      ...this.#deps(process),
      platform: network.caller({ link: "supervisor>platform", from: process, to: this.#platform, headers }),
      gateway: network.caller({ link: "supervisor>gateway", from: process, to: this.gatewayEndpoint }),
      broker: this.#broker === null ? null : network.caller({ link: "supervisor>broker", from: process, to: this.brokerEndpoint }),
      subscriptions: {
        subscribe: (runId) => process.alive && this.subscriptions.add(runId),
        unsubscribe: (runId) => process.alive && this.subscriptions.delete(runId),
      },
      address: () => ({ protocol: "http", domain: "supervisor", port: 8020 }),
      callbackUrl: () => `http://${this.name}/callback`,
      stop: stop.signal,
    });
  }

  async #post(
    process: SimProcess,
    body: string,
    headers: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<number | undefined> {
    const route = snapshotComplete as unknown as Route;
    const to = this.supervisorEndpoint;
    const input = { body: Buffer.from(body) as never, headers: { ...headers }, timeoutMs: 10_000, signal };
    const outcome = await this.#context.network.call({ link: "gateway>supervisor", from: process, to }, route, input);
    return outcome.kind === "answered" ? outcome.answer.status : undefined;
  }

  /** As another supervisor would. */
  async askToRestore(imageId: string, body: Readonly<Record<string, unknown>>): Promise<void> {
    const route = gatewayRoutes.restoreSnapshot as unknown as Route;
    const input = { params: { snapshotId: imageId } as never, body: body as never };
    await this.#context.network.call({ link: "supervisor>gateway", from: this.process("rival"), to: this.gatewayEndpoint }, route, input);
  }

  /** A callback that did not come from the gateway. */
  async forgeCallback(body: string, signature: string | undefined): Promise<void> {
    const process = this.process("stranger");
    const headers: Record<string, string> = signature === undefined ? {} : { [CALLBACK_SIGNATURE_HEADER]: signature };
    await this.#post(process, body, headers, new AbortController().signal);
  }

  #startBroker(): Endpoint {
    return {
      process: this.process("broker"),
      routes: routeMap(new BrokerModel(this.#context.time).routes()),
      authenticate: async () => null,
    };
  }
}
