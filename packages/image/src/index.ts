export { TASK_USER } from "./base/etc.ts";
export { ensureBase, NODE_PATH, type BaseImage, type EnsureBaseOptions } from "./base/ensureBase.ts";
export { HOOK_OPTIONS } from "./base/hookFiles.ts";
export { READY_LINE, REFUSED_LINE, ROLE_VARIABLE, SPARE_VARIABLE } from "./hook/protocol.ts";
export { buildImage, type BuildImageOptions, type BuildOutcome } from "./buildImage.ts";
export { APP_DIR } from "./bundle/bundleProject.ts";
export { Image, imageReference, parseImageReference, type StoredImage, type WorkerManifest } from "./image.ts";
export { formatProjectError, type Place, type ProjectError, type ProjectErrorKind } from "./projectError.ts";
export { RECOMMENDED_VERSION, SUPPORTED_VERSIONS } from "./project.ts";
export { installApp, type InstalledApp } from "./installApp.ts";
export {
  collectGarbage,
  findImage,
  listImages,
  verifyImage,
  type Collected,
  type CollectOptions,
  type FindOutcome,
  type VerifyOutcome,
} from "./store.ts";
