// `awslambda.streamifyResponse`: handlers that write their answer as a stream.

import { Writable } from "node:stream";
import { finished } from "node:stream/promises";
import { describe, printable } from "./client.mjs";

const STREAMING = Symbol.for("aws.lambda.runtime.handler.streaming");
const HTTP = "application/vnd.awslambda.http-integration-response";

export const isStreaming = (handler) => handler[STREAMING] === "response";

export class ResponseStream extends Writable {
  constructor(client, id) {
    super();
    this.client = client;
    this.id = id;
    this.contentType = "application/octet-stream";
    this.on("error", () => {});
  }

  setContentType(contentType) {
    this.contentType = contentType;
  }

  begin() {
    if (this.request) return this.request;
    const headers = {
      "Content-Type": this.contentType,
      "Lambda-Runtime-Function-Response-Mode": "streaming",
      "Transfer-Encoding": "chunked",
      Trailer: "Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body",
    };
    if (this.prelude) headers["Content-Type"] = HTTP;
    this.answered = new Promise((resolve, reject) => {
      this.request = this.client.open(`invocation/${this.id}/response`, headers, (response) => {
        response.resume();
        response.on("end", resolve);
      });
      this.request.on("error", reject);
    });
    this.answered.catch(() => {});
    if (this.prelude) this.request.write(Buffer.concat([Buffer.from(this.prelude), Buffer.alloc(8)]));
    return this.request;
  }

  _write(chunk, encoding, done) {
    if (this.begin().write(chunk, encoding)) done();
    else this.request.once("drain", () => done());
  }

  _final(done) {
    this.begin().end(done);
  }

  async finished() {
    if (!this.writableEnded) this.end();
    await finished(this);
    await this.answered;
  }

  async fail(error) {
    if (!this.request) {
      await this.client.postError(`invocation/${this.id}/error`, error);
      return;
    }
    const document = describe(error);
    this.request.addTrailers({
      "Lambda-Runtime-Function-Error-Type": printable(document.errorType),
      "Lambda-Runtime-Function-Error-Body": Buffer.from(JSON.stringify(document)).toString("base64"),
    });
    this.request.end();
    await this.answered;
  }
}

export function installStreaming() {
  globalThis.awslambda = {
    streamifyResponse(handler) {
      handler[STREAMING] = "response";
      return handler;
    },
    HttpResponseStream: {
      from(stream, prelude) {
        stream.prelude = JSON.stringify(prelude);
        return stream;
      },
    },
  };
}
