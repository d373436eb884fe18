// Finds the handler that a name such as `folder/file.export` stands for, in CommonJS or an ES module.

import fs from "node:fs";
import path from "node:path";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

export class Fault extends Error {
  constructor(type, message) {
    super(message);
    this.name = type;
  }
}

export async function load(root, name) {
  const base = path.basename(name ?? "");
  const dot = base.indexOf(".");
  if (dot < 1 || dot === base.length - 1 || name.includes("..")) {
    throw new Fault("Runtime.MalformedHandlerName", `'${name}' is not a valid handler name: use file.function`);
  }
  const file = path.join(path.dirname(name), base.slice(0, dot));
  const handler = base
    .slice(dot + 1)
    .split(".")
    .reduce((found, part) => found?.[part], await modulesOf(path.resolve(root, file), file));
  if (typeof handler !== "function") {
    throw new Fault("Runtime.HandlerNotFound", `${name} is undefined or not exported`);
  }
  return handler;
}

async function modulesOf(place, file) {
  const found = ["", ".js", ".mjs", ".cjs"].map((end) => place + end).find((one) => fs.statSync(one, { throwIfNoEntry: false })?.isFile());
  try {
    if (!found) throw new Fault("Runtime.ImportModuleError", `Error: Cannot find module '${file}'`);
    if (found.endsWith(".mjs")) return await import(pathToFileURL(found).href);
    try {
      return createRequire(found)(found);
    } catch (error) {
      if (!["ERR_REQUIRE_ESM", "ERR_REQUIRE_ASYNC_MODULE"].includes(error.code)) throw error;
      return await import(pathToFileURL(found).href);
    }
  } catch (error) {
    if (error instanceof SyntaxError) throw renamed("Runtime.UserCodeSyntaxError", error);
    if (["MODULE_NOT_FOUND", "ERR_MODULE_NOT_FOUND"].includes(error?.code)) throw renamed("Runtime.ImportModuleError", error);
    throw error;
  }
}

function renamed(type, error) {
  const fault = new Fault(type, `${error.name}: ${error.message}`);
  fault.stack = error.stack;
  return fault;
}
