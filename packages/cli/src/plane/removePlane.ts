/** Ends what still runs of a plane that has stopped, and removes its networks, rules, mounts and memory images from this machine. */
export async function removePlane({
  planeId,
  dataDir,
  env,
}: {
  readonly planeId: string;
  readonly dataDir: string;
  readonly env: Readonly<Record<string, string | undefined>>;
}): Promise<void> {
  const { cleanUp, readGatewayConfig } = await import("@torpor/gateway");
  const config = readGatewayConfig({
    TORPOR_RUNSC: env["TORPOR_RUNSC"],
    COMPUTE_GATEWAY_AUTH_TOKEN: "not needed to clean up",
    TORPOR_STATE_DIR: dataDir,
    TORPOR_GATEWAY_PLANE: planeId,
  });
  await cleanUp(config);
}
