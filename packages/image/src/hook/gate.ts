// A runner's entry point is loaded, compiled and linked ahead, and held before its first statement: it imports this.
import { entered, opened } from "./gateKeeper.ts";

entered.resolve();
await opened.promise;
