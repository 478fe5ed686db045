// Contexts of `node:vm` have a `Math` of their own, whose numbers begin with what clones have in common. It gets ours.
import { syncBuiltinESMExports } from "node:module";
import vm from "node:vm";

/** From now on every context that is made draws from `random`. */
export function mendNewContexts(random: () => number): void {
  const { createContext, runInNewContext } = vm;
  const { runInNewContext: runScript } = vm.Script.prototype;
  const mended = (object: vm.Context, options: vm.CreateContextOptions | undefined): vm.Context => {
    const isNew = !vm.isContext(object);
    const context = createContext(object, options);
    if (isNew) Object.defineProperty(vm.runInContext("Math", context), "random", { value: random, writable: true, configurable: true });
    return context;
  };
  Object.assign(vm, {
    createContext: (object: vm.Context = {}, options?: vm.CreateContextOptions) =>
      isPlain(object) ? mended(object, options) : createContext(object, options),
    runInNewContext: (code: string, object: vm.Context = {}, options?: vm.RunningCodeInNewContextOptions | string) =>
      runInNewContext(code, isPlain(object) ? mended(object, contextOptions(options)) : object, options),
  });
  vm.Script.prototype.runInNewContext = function (object = {}, options) {
    return Reflect.apply(runScript, this, [isPlain(object) ? mended(object, contextOptions(options)) : object, options]) as unknown;
  };
  syncBuiltinESMExports();
}

/** Anything else, such as `vm.constants.DONT_CONTEXTIFY`, is Node's to judge. */
function isPlain(object: unknown): object is vm.Context {
  return typeof object === "object" && object !== null;
}

/** The part of the options that is about the context, under the names that `createContext` knows. */
function contextOptions(options: vm.RunningCodeInNewContextOptions | string | undefined): vm.CreateContextOptions | undefined {
  if (typeof options !== "object") return undefined;
  const { contextName: name, contextOrigin: origin, contextCodeGeneration: codeGeneration, microtaskMode } = options;
  const found = { name, origin, codeGeneration, microtaskMode };
  return Object.fromEntries(Object.entries(found).filter(([, value]) => value !== undefined)) as vm.CreateContextOptions;
}
