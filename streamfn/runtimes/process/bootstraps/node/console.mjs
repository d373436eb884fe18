// Lines of `console`, as Lambda's log has them: with instant, request id and level.

import { format } from "node:util";

const LEVELS = { trace: "TRACE", debug: "DEBUG", log: "INFO", info: "INFO", warn: "WARN", error: "ERROR", fatal: "FATAL" };

export function addConsole(requestId) {
  const json = process.env.AWS_LAMBDA_LOG_FORMAT === "JSON";
  for (const [method, level] of Object.entries(LEVELS)) {
    console[method] = (...values) => {
      const timestamp = new Date().toISOString();
      const id = requestId();
      if (json) {
        const message = values.length === 1 && typeof values[0] === "object" ? values[0] : format(...values);
        process.stdout.write(`${JSON.stringify({ timestamp, level, requestId: id, message })}\n`);
      } else {
        // A message of several lines is one event of the log.
        process.stdout.write(`${timestamp}\t${id}\t${level}\t${format(...values).replace(/\n/g, "\r")}\n`);
      }
    };
  }
}
