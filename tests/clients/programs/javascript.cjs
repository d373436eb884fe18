// What the AWS SDK for JavaScript does with the daemon. Beside the variables of AWS: CODE, a zip file,
// and RUNTIME. All checks run at once; each has a function of its own.

"use strict";

const assert = require("node:assert/strict");
const { readFileSync } = require("node:fs");
const lambda = require("@aws-sdk/client-lambda");

const ACCOUNT = process.env.AWS_ACCOUNT_ID;
const REGION = process.env.AWS_DEFAULT_REGION;
const ROLE = `arn:aws:iam::${ACCOUNT}:role/any`;
const SOON = { maxWaitTime: 30, minDelay: 1, maxDelay: 1 };
const ZipFile = readFileSync(process.env.CODE);

const client = (options = {}) => new lambda.LambdaClient({ region: REGION, ...options });
const api = client();
const run = process.pid.toString(36);
let numbers = 0;

const unique = (prefix) => `${prefix}-${run}-${++numbers}`;
const arn = (name) => `arn:aws:lambda:${REGION}:${ACCOUNT}:function:${name}`;
const send = (operation, input, by = api) => by.send(new lambda[`${operation}Command`](input));
const text = (bytes) => Buffer.from(bytes).toString();

/** A function that is active; its name. */
async function create(options = {}) {
  const FunctionName = unique("js");
  const made = await send("CreateFunction", {
    FunctionName,
    Role: ROLE,
    Handler: "index.handler",
    Runtime: process.env.RUNTIME,
    Code: { ZipFile },
    ...options,
  });
  assert.equal(made.FunctionArn, arn(FunctionName));
  assert.equal(made.$metadata.httpStatusCode, 201);
  await lambda.waitUntilFunctionActiveV2({ client: api, ...SOON }, { FunctionName });
  return FunctionName;
}

/** The exception of an SDK's class that a call ends with. */
async function refused(call, kind, status, message) {
  try {
    await call;
  } catch (error) {
    assert.ok(error instanceof kind, `${error.name}: ${error.message}`);
    assert.equal(error.$metadata.httpStatusCode, status);
    assert.match(error.$metadata.requestId ?? "none", /^[0-9a-f-]{36}$/);
    if (message) assert.match(error.message, message);
    return error;
  }
  throw new assert.AssertionError({ message: `it was done, and ${kind.name} expected` });
}

const checks = {
  async functions() {
    const name = await create({ Tags: { team: "a/b c" }, Environment: { Variables: { KEY: "ü" } } });
    const found = await send("GetFunction", { FunctionName: name });
    assert.equal(found.Configuration.Environment.Variables.KEY, "ü");
    assert.equal(found.Configuration.State, "Active");
    assert.deepEqual(found.Tags, { team: "a/b c" });
    assert.deepEqual(Buffer.from(await (await fetch(found.Code.Location)).arrayBuffer()), ZipFile);
    await send("UpdateFunctionConfiguration", { FunctionName: name, Timeout: 7 });
    await lambda.waitUntilFunctionUpdatedV2({ client: api, ...SOON }, { FunctionName: name });
    await send("UpdateFunctionCode", { FunctionName: name, ZipFile, Publish: true });
    await lambda.waitUntilFunctionUpdatedV2({ client: api, ...SOON }, { FunctionName: name });
    const again = await send("GetFunctionConfiguration", { FunctionName: name });
    assert.deepEqual([again.Timeout, again.LastUpdateStatus], [7, "Successful"]);
    const deleted = await send("DeleteFunction", { FunctionName: name });
    assert.equal(deleted.$metadata.httpStatusCode, 204);
    await refused(send("GetFunction", { FunctionName: name }), lambda.ResourceNotFoundException, 404);
  },

  async invoking() {
    const FunctionName = await create();
    const Payload = JSON.stringify({ a: "ü" });
    const said = await send("Invoke", { FunctionName, Payload, LogType: "Tail" });
    assert.deepEqual([said.StatusCode, said.ExecutedVersion], [200, "$LATEST"]);
    const answer = JSON.parse(said.Payload.transformToString());
    assert.deepEqual(answer, { event: { a: "ü" }, arn: arn(FunctionName) });
    const log = Buffer.from(said.LogResult, "base64").toString();
    assert.match(log, new RegExp(`START RequestId: ${said.$metadata.requestId}[^]*a line`));
    const event = await send("Invoke", { FunctionName, Payload, InvocationType: "Event" });
    assert.deepEqual([event.StatusCode, event.Payload ?? null], [202, null]);
    const dry = await send("Invoke", { FunctionName, InvocationType: "DryRun" });
    assert.equal(dry.StatusCode, 204);
    const failed = await send("Invoke", { FunctionName, Payload: '{"do": "fail"}' });
    assert.deepEqual([failed.StatusCode, failed.FunctionError], [200, "Unhandled"]);
    assert.equal(JSON.parse(text(failed.Payload)).errorMessage, "no: ü");
    const bare = await send("Invoke", { FunctionName });
    assert.deepEqual(JSON.parse(text(bare.Payload)).event, {});
  },

  async streams() {
    const FunctionName = await create({ MemorySize: 1769, Timeout: 30 });
    const Payload = '{"do": "large", "size": 300000}';
    const said = await send("InvokeWithResponseStream", { FunctionName, Payload, LogType: "Tail" });
    assert.deepEqual([said.StatusCode, said.ExecutedVersion], [200, "$LATEST"]);
    const [parts, ends] = [[], []];
    for await (const event of said.EventStream) {
      if (event.PayloadChunk) parts.push(Buffer.from(event.PayloadChunk.Payload));
      if (event.InvokeComplete) ends.push(event.InvokeComplete);
    }
    assert.equal(JSON.parse(Buffer.concat(parts)), "x".repeat(300000));
    assert.equal(ends.length, 1);
    assert.equal(ends[0].ErrorCode, undefined);
    assert.match(Buffer.from(ends[0].LogResult, "base64").toString(), /REPORT/);
    const failed = await send("InvokeWithResponseStream", { FunctionName, Payload: '{"do": "fail"}' });
    for await (const event of failed.EventStream) ends.push(event.InvokeComplete);
    assert.equal(ends.at(-1).ErrorCode, "Unhandled");
  },

  async aliases() {
    const FunctionName = await create({ Publish: true });
    const made = await send("CreateAlias", { FunctionName, Name: "live", FunctionVersion: "1" });
    assert.equal(made.AliasArn, `${arn(FunctionName)}:live`);
    const said = await send("Invoke", { FunctionName: made.AliasArn });
    assert.equal(said.ExecutedVersion, "1");
    await send("UpdateAlias", { FunctionName, Name: "live", Description: "ü", RevisionId: made.RevisionId });
    await refused(
      send("UpdateAlias", { FunctionName, Name: "live", RevisionId: made.RevisionId }),
      lambda.PreconditionFailedException,
      412,
    );
    await send("DeleteAlias", { FunctionName, Name: "live" });
  },

  async mappings() {
    const FunctionName = await create();
    const EventSourceArn = `arn:aws:sqs:${REGION}:${ACCOUNT}:${unique("js")}`;
    const made = await send("CreateEventSourceMapping", {
      FunctionName,
      EventSourceArn,
      BatchSize: 5,
      FilterCriteria: { Filters: [{ Pattern: '{"body": {"a": [1]}}' }] },
    });
    assert.deepEqual([made.State, made.$metadata.httpStatusCode], ["Creating", 202]);
    assert.ok(made.LastModified instanceof Date && Math.abs(made.LastModified - Date.now()) < 3_600_000);
    const { UUID } = made;
    const reached = async (state) => {
      while ((await send("GetEventSourceMapping", { UUID })).State !== state) {
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    };
    await reached("Enabled");
    const again = await refused(
      send("CreateEventSourceMapping", { FunctionName, EventSourceArn }),
      lambda.ResourceConflictException,
      409,
      /already exists/,
    );
    assert.equal(again.Type, "User");
    await send("UpdateEventSourceMapping", { UUID, Enabled: false });
    await reached("Disabled");
    const listed = await send("ListEventSourceMappings", { EventSourceArn });
    assert.deepEqual(listed.EventSourceMappings.map((each) => each.UUID), [UUID]);
    const deleted = await send("DeleteEventSourceMapping", { UUID });
    assert.equal(deleted.State, "Deleting");
    await assert.rejects(reached("gone"), { name: "ResourceNotFoundException" });
  },

  async pages() {
    const FunctionName = await create();
    for (const Name of ["a", "b", "c"]) {
      await send("CreateAlias", { FunctionName, Name, FunctionVersion: "$LATEST" });
    }
    const found = [];
    for await (const page of lambda.paginateListAliases({ client: api, pageSize: 2 }, { FunctionName })) {
      found.push(page.Aliases.map((each) => each.Name));
    }
    assert.deepEqual(found, [["a", "b"], ["c"]]);
  },

  async refusals() {
    const FunctionName = await create();
    await refused(
      send("Invoke", { FunctionName: "nobody" }),
      lambda.ResourceNotFoundException,
      404,
      /^Function not found: arn:aws:lambda:.*:function:nobody:\$LATEST$/,
    );
    await refused(send("Invoke", { FunctionName, Payload: "{" }), lambda.InvalidRequestContentException, 400);
    await refused(
      send("UpdateFunctionConfiguration", { FunctionName, MemorySize: 64 }),
      lambda.LambdaServiceException,
      400,
      /memorySize/,
    );
    await refused(
      send("PutFunctionRecursionConfig", { FunctionName, RecursiveLoop: "Allow" }),
      lambda.InvalidParameterValueException,
      400,
    );
  },

  async throttling() {
    const FunctionName = await create();
    await send("PutFunctionConcurrency", { FunctionName, ReservedConcurrentExecutions: 0 });
    const twice = client({ maxAttempts: 2 });
    const throttled = (name) => {
      const call = send("Invoke", { FunctionName: name }, twice);
      return refused(call, lambda.TooManyRequestsException, 429, /^Rate Exceeded/);
    };
    const error = await throttled(FunctionName);
    assert.equal(error.Reason, "ReservedFunctionConcurrentInvocationLimitExceeded");
    assert.equal(error.$metadata.attempts, 2);
    // A function of the TARGET, which says when to come again: that is how long the SDK waits.
    const busy = await throttled("busy");
    assert.deepEqual([busy.retryAfterSeconds, busy.$metadata.attempts], ["2", 2]);
    assert.ok(busy.$metadata.totalRetryDelay > 1900, `${busy.$metadata.totalRetryDelay} ms`);
  },

  async signing() {
    const accessKeyId = process.env.AWS_ACCESS_KEY_ID;
    const secretAccessKey = process.env.AWS_SECRET_ACCESS_KEY;
    const listed = (change, more) => {
      const credentials = { accessKeyId, secretAccessKey, ...change };
      return send("ListFunctions", {}, client({ credentials, ...more }));
    };
    const refusal = (change) => refused(listed(change), lambda.LambdaServiceException, 403);
    await listed({ sessionToken: "a/b+c==" });
    assert.equal((await refusal({ secretAccessKey: "no" })).name, "InvalidSignatureException");
    assert.equal((await refusal({ accessKeyId: "NO" })).name, "UnrecognizedClientException");
    // A clock that is ten minutes slow: the SDK reads the date of the refusal, and tries again.
    const late = await listed({}, { systemClockOffset: -600_000 });
    assert.equal(late.$metadata.attempts, 2);
    const large = Buffer.alloc(80 * 1024 * 1024);
    const tooLarge = send("Invoke", { FunctionName: "any", Payload: large }, client({ maxAttempts: 1 }));
    await refused(tooLarge, lambda.LambdaServiceException, 413, /smaller than/);
    await refused(
      send("GetFunction", { FunctionName: "a b/ü+%2F:~*" }),
      lambda.LambdaServiceException,
      400,
      /Value 'a b\/ü\+%2F:~\*' at 'functionName'/,
    );
  },

  async resources() {
    const FunctionName = await create();
    const Resource = arn(FunctionName);
    await send("TagResource", { Resource, Tags: { "a b": "ü", c: "/" } });
    await send("UntagResource", { Resource, TagKeys: ["a b"] });
    assert.deepEqual((await send("ListTags", { Resource })).Tags, { c: "/" });
    const statement = { StatementId: "s3", Action: "lambda:InvokeFunction", Principal: "s3.amazonaws.com" };
    const added = await send("AddPermission", { FunctionName, ...statement });
    assert.equal(JSON.parse(added.Statement).Sid, "s3");
    const policy = await send("GetPolicy", { FunctionName });
    assert.equal(JSON.parse(policy.Policy).Statement.length, 1);
    await send("RemovePermission", { FunctionName, StatementId: "s3" });
    await refused(send("GetPolicy", { FunctionName }), lambda.ResourceNotFoundException, 404);
  },
};

async function main() {
  let failed = 0;
  const one = async ([name, check]) => {
    const began = performance.now();
    try {
      await check();
      console.log(`ok check_${name} ${((performance.now() - began) / 1000).toFixed(2)} s`);
    } catch (error) {
      failed += 1;
      console.log(`FAILED check_${name}\n${error.stack}`);
    }
  };
  await Promise.all(Object.entries(checks).map(one));
  process.exitCode = failed;
}

main();
