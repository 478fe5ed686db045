export { cleanUp } from "./cleanup.ts";
export { GATEWAY_SETTINGS, planeIdOf, readGatewayConfig, type GatewayConfig } from "./config.ts";
export type { ComputeDriver, SandboxImage } from "./drivers/driver.ts";
export { FakeDriver, FakeHost, type Fault } from "./drivers/fake/fakeDriver.ts";
export { GUEST_HOST, gvisorSupport, type Missing, type ServiceSetting, type Support } from "./drivers/gvisor/index.ts";
export { gatewayDir, startGateway, type GatewayDependencies, type RunningGateway } from "./gateway.ts";
export { storedImages, type ImageSource } from "./images.ts";
export { IMAGE_TRANSITIONS, SANDBOX_TRANSITIONS } from "./sandboxes/lifeCycle.ts";
export { signature } from "./snapshots/callback.ts";
