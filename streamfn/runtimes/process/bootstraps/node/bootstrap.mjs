// The runtime of Node.js functions that bring none: asks the Lambda Runtime API for invocations, calls the handler.
// Usage: node bootstrap.mjs FILE.HANDLER

import { addConsole } from "./console.mjs";
import { RuntimeClient, describe } from "./client.mjs";
import { load, Fault } from "./handler.mjs";
import { installStreaming, isStreaming, ResponseStream } from "./streaming.mjs";
import { AsyncLocalStorage } from "node:async_hooks";

const newClient = () => new RuntimeClient(process.env.AWS_LAMBDA_RUNTIME_API);
const current = new AsyncLocalStorage();
const running = new Set();
const concurrency = Number(process.env.AWS_LAMBDA_MAX_CONCURRENCY ?? 1);

class Invocation {
  constructor(client, { headers, body }) {
    this.client = client;
    this.id = headers["lambda-runtime-aws-request-id"];
    this.headers = headers;
    this.body = body;
    this.settled = false;
    this.ended = new Promise((resolve) => (this.resolve = resolve));
  }

  async settle(post) {
    if (this.settled) return;
    this.settled = true;
    try {
      await post();
    } finally {
      running.delete(this);
      this.resolve();
    }
  }

  succeed(result) {
    return this.settle(async () => {
      let text;
      try {
        text = JSON.stringify(result === undefined ? null : result);
        if (text === undefined) text = "null";
      } catch (error) {
        await this.report(new Fault("Runtime.MarshalError", `Unable to stringify response body: ${error.message}`));
        return;
      }
      await this.client.post(`invocation/${this.id}/response`, text);
    });
  }

  fail(error) {
    return this.settle(() => this.report(error));
  }

  async report(error) {
    console.error("Invoke Error", JSON.stringify(describe(error)));
    if (this.stream) await this.stream.fail(error);
    else await this.client.postError(`invocation/${this.id}/error`, error);
  }
}

function context(invocation, done) {
  const env = process.env;
  const { headers } = invocation;
  const deadline = Number(headers["lambda-runtime-deadline-ms"]);
  const parsed = (name) => (headers[name] ? JSON.parse(headers[name]) : undefined);
  return {
    callbackWaitsForEmptyEventLoop: true,
    functionName: env.AWS_LAMBDA_FUNCTION_NAME,
    functionVersion: env.AWS_LAMBDA_FUNCTION_VERSION,
    memoryLimitInMB: env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
    logGroupName: env.AWS_LAMBDA_LOG_GROUP_NAME,
    logStreamName: env.AWS_LAMBDA_LOG_STREAM_NAME,
    clientContext: parsed("lambda-runtime-client-context"),
    identity: parsed("lambda-runtime-cognito-identity"),
    invokedFunctionArn: headers["lambda-runtime-invoked-function-arn"],
    awsRequestId: invocation.id,
    getRemainingTimeInMillis: () => Math.max(0, deadline - Date.now()),
    done,
    succeed: (result) => done(null, result),
    fail: (error) => done(error ?? new Error("handled")),
  };
}

// A callback's answer waits until the event loop is empty, unless the function says otherwise.
function answer(invocation, made, error, result) {
  const act = () => (error ? invocation.fail(asError(error)) : invocation.succeed(result));
  if (made.callbackWaitsForEmptyEventLoop) invocation.atEnd = act;
  else act();
}

const asError = (error) => (error instanceof Error ? error : Object.assign(new Error(String(error)), { name: typeof error }));

async function call(handler, invocation) {
  let event;
  try {
    event = JSON.parse(invocation.body);
  } catch (error) {
    await invocation.fail(new Fault("Runtime.UnmarshalError", `Unable to parse the event: ${error.message}`));
    return;
  }
  let made;
  const done = (error, result) => answer(invocation, made, error, result);
  try {
    made = context(invocation, done);
    if (isStreaming(handler)) {
      await stream(handler, event, invocation, made);
      return;
    }
    const returned = handler(event, made, done);
    if (typeof returned?.then === "function") await invocation.succeed(await returned);
    else if (handler.length < 3 && returned !== undefined) invocation.atEnd ??= () => invocation.succeed(null);
  } catch (error) {
    await invocation.fail(asError(error));
  }
}

async function stream(handler, event, invocation, made) {
  const response = new ResponseStream(invocation.client, invocation.id);
  invocation.stream = response;
  await handler(event, response, made);
  await response.finished();
  await invocation.settle(async () => {});
}

async function serve(handler) {
  const client = newClient();
  for (;;) {
    const invocation = new Invocation(client, await client.next());
    running.add(invocation);
    const trace = invocation.headers["lambda-runtime-trace-id"];
    if (concurrency === 1) {
      if (trace) process.env._X_AMZN_TRACE_ID = trace;
      else delete process.env._X_AMZN_TRACE_ID;
    }
    current.run(invocation, () => void call(handler, invocation));
    await invocation.ended;
  }
}

// The event loop is empty: callbacks that never came have answered null.
process.on("beforeExit", () => {
  for (const invocation of running) {
    const { atEnd } = invocation;
    current.run(invocation, () => void (atEnd ? atEnd() : invocation.succeed(null)));
  }
});

async function die(error, status) {
  const hit = current.getStore();
  for (const invocation of hit && running.has(hit) ? [hit] : [...running]) {
    try {
      await invocation.fail(error);
    } catch (problem) {
      process.stderr.write(`${problem.stack}\n`);
    }
  }
  process.exit(status);
}

process.on("uncaughtException", (error) => void die(asError(error), 129));
process.on("unhandledRejection", (reason) => {
  const fault = new Fault("Runtime.UnhandledPromiseRejection", reason?.stack ? String(reason) : JSON.stringify(reason));
  if (reason?.stack) fault.stack = reason.stack;
  void die(fault, 128);
});

addConsole(() => current.getStore()?.id ?? "");
installStreaming();
let handler;
try {
  handler = await load(process.env.LAMBDA_TASK_ROOT ?? process.cwd(), process.argv[2] ?? process.env._HANDLER);
} catch (error) {
  console.error("Uncaught Exception", JSON.stringify(describe(asError(error))));
  await newClient().postError("init/error", asError(error));
  process.exit(1);
}
await Promise.all(Array.from({ length: concurrency }, () => serve(handler)));
