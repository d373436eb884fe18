// The Lambda Runtime API, and errors as it takes them.

import http from "node:http";

const ROOT = "/2018-06-01/runtime/";

export class RuntimeClient {
  constructor(address) {
    const [hostname, port] = address.split(":");
    // One connection, for one request at a time: the next waits until it is free, rather than open another.
    this.options = { hostname, port, agent: new http.Agent({ keepAlive: true, maxSockets: 1 }) };
  }

  async next() {
    const { status, headers, body } = await this.request("GET", "invocation/next");
    if (status !== 200) throw new Error(`next was answered ${status}`);
    return { headers, body };
  }

  async post(path, text, headers = {}) {
    const answer = await this.request("POST", path, text, { "Content-Type": "application/json", ...headers });
    if (answer.status >= 300) throw new Error(`${path} was answered ${answer.status}`);
  }

  postError(path, error) {
    const document = describe(error);
    const headers = { "Lambda-Runtime-Function-Error-Type": printable(document.errorType) };
    return this.post(path, JSON.stringify(document), headers);
  }

  open(path, headers, answered) {
    const options = { ...this.options, method: "POST", path: ROOT + path, headers };
    return http.request(options, answered);
  }

  request(method, path, text, headers = {}) {
    const data = text === undefined ? undefined : Buffer.from(text);
    if (data) headers["Content-Length"] = data.length;
    return new Promise((resolve, reject) => {
      const request = http.request({ ...this.options, method, path: ROOT + path, headers }, (response) => {
        const parts = [];
        response.on("data", (part) => parts.push(part));
        response.on("end", () => {
          resolve({ status: response.statusCode, headers: response.headers, body: Buffer.concat(parts).toString() });
        });
        response.on("error", reject);
      });
      request.on("error", reject);
      request.end(data);
    });
  }
}

export function describe(error) {
  return {
    errorType: String(error.name ?? "Error"),
    errorMessage: String(error.message ?? error),
    trace: String(error.stack ?? error).split("\n"),
  };
}

export const printable = (text) => text.replace(/[^\x20-\x7e]/g, "?");
