// What the AWS SDK for Java does with the daemon. Beside the variables of AWS: CODE, a zip file, and RUNTIME.
// All checks run at once; each has a function of its own.

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Consumer;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.AwsCredentials;
import software.amazon.awssdk.auth.credentials.AwsSessionCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.core.SdkBytes;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.lambda.LambdaAsyncClient;
import software.amazon.awssdk.services.lambda.LambdaClient;
import software.amazon.awssdk.services.lambda.model.*;

class Java {
  static final String ACCOUNT = System.getenv("AWS_ACCOUNT_ID");
  static final Region REGION = Region.of(System.getenv("AWS_DEFAULT_REGION"));
  static final LambdaClient API = LambdaClient.builder().region(REGION).build();
  static final LambdaAsyncClient LATER = LambdaAsyncClient.builder().region(REGION).build();
  static final AtomicInteger NUMBERS = new AtomicInteger();

  interface Check {
    void run() throws Exception;
  }

  static void functions() throws Exception {
    String name = create(r -> r.tags(Map.of("team", "a/b c")));
    var found = API.getFunction(r -> r.functionName(name));
    equal(found.configuration().stateAsString(), "Active");
    equal(found.tags(), Map.of("team", "a/b c"));
    API.updateFunctionConfiguration(
        r -> r.functionName(name).timeout(7).environment(e -> e.variables(Map.of("KEY", "ü"))));
    API.waiter().waitUntilFunctionUpdatedV2(r -> r.functionName(name));
    var again = API.getFunctionConfiguration(r -> r.functionName(name));
    equal(List.of(again.timeout(), again.environment().variables()), List.of(7, Map.of("KEY", "ü")));
    API.deleteFunction(r -> r.functionName(name));
    refused(ResourceNotFoundException.class, 404, () -> API.getFunction(r -> r.functionName(name)));
  }

  static void invoking() throws Exception {
    String name = create(r -> {});
    var payload = SdkBytes.fromUtf8String("{\"a\": \"ü\"}");
    var said = API.invoke(r -> r.functionName(name).payload(payload).logType("Tail"));
    equal(List.of(said.statusCode(), said.executedVersion()), List.of(200, "$LATEST"));
    equal(said.payload().asUtf8String().contains("\\u00fc"), true);
    equal(said.responseMetadata().requestId().length(), 36);
    equal(said.logResult().isEmpty(), false);
    equal(API.invoke(r -> r.functionName(name).invocationType("Event")).statusCode(), 202);
    equal(API.invoke(r -> r.functionName(name).invocationType("DryRun")).statusCode(), 204);
    var failed = API.invoke(r -> r.functionName(name).payload(SdkBytes.fromUtf8String("{\"do\": \"fail\"}")));
    equal(failed.functionError(), "Unhandled");
  }

  static void streams() throws Exception {
    String name = create(r -> r.memorySize(1769).timeout(30));
    var size = new AtomicInteger();
    List<InvokeWithResponseStreamCompleteEvent> ends = new ArrayList<>();
    var visitor = InvokeWithResponseStreamResponseHandler.Visitor.builder()
        .onPayloadChunk(part -> size.addAndGet(part.payload().asByteArrayUnsafe().length))
        .onInvokeComplete(ends::add)
        .build();
    Consumer<String> invoke = payload -> LATER.invokeWithResponseStream(
        r -> r.functionName(name).payload(SdkBytes.fromUtf8String(payload)),
        InvokeWithResponseStreamResponseHandler.builder().subscriber(visitor).build()).join();
    invoke.accept("{\"do\": \"large\", \"size\": 300000}");
    invoke.accept("{\"do\": \"fail\"}");
    equal(size.get() > 300000, true);
    var codes = ends.stream().map(InvokeWithResponseStreamCompleteEvent::errorCode).toList();
    equal(codes, Arrays.asList(null, "Unhandled"));
    refused(ResourceNotFoundException.class, 404, () -> {
      try {
        return LATER.invokeWithResponseStream(
            r -> r.functionName("nobody"),
            InvokeWithResponseStreamResponseHandler.builder().subscriber(visitor).build()).join();
      } catch (CompletionException error) {
        throw (Exception) error.getCause();
      }
    });
  }

  static void aliases() throws Exception {
    String name = create(r -> r.publish(true));
    for (String alias : List.of("a", "b", "c")) {
      API.createAlias(r -> r.functionName(name).name(alias).functionVersion("1"));
    }
    equal(API.invoke(r -> r.functionName(name).qualifier("a")).executedVersion(), "1");
    var pages = API.listAliasesPaginator(r -> r.functionName(name).maxItems(2));
    equal(pages.stream().map(page -> page.aliases().size()).toList(), List.of(2, 1));
    refused(PreconditionFailedException.class, 412,
        () -> API.updateAlias(r -> r.functionName(name).name("a").revisionId("another")));
  }

  static void mappings() throws Exception {
    String name = create(r -> {});
    String queue = "arn:aws:sqs:%s:%s:%s".formatted(REGION, ACCOUNT, name);
    String id = API.createEventSourceMapping(r -> r.functionName(name).eventSourceArn(queue).batchSize(5)
        .filterCriteria(f -> f.filters(Filter.builder().pattern("{\"body\": {\"a\": [1]}}").build()))).uuid();
    reached(id, "Enabled");
    refused(ResourceConflictException.class, 409,
        () -> API.createEventSourceMapping(r -> r.functionName(name).eventSourceArn(queue)));
    API.updateEventSourceMapping(r -> r.uuid(id).enabled(false));
    reached(id, "Disabled");
    equal(API.listEventSourceMappings(r -> r.eventSourceArn(queue)).eventSourceMappings().size(), 1);
    equal(API.deleteEventSourceMapping(r -> r.uuid(id)).state(), "Deleting");
    refused(ResourceNotFoundException.class, 404, () -> {
      reached(id, "gone");
      return null;
    });
  }

  static void refusals() throws Exception {
    String name = create(r -> {});
    var missing = refused(ResourceNotFoundException.class, 404,
        () -> API.invoke(r -> r.functionName("nobody")));
    equal(missing.awsErrorDetails().errorMessage(),
        "Function not found: arn:aws:lambda:%s:%s:function:nobody:$LATEST".formatted(REGION, ACCOUNT));
    var small = refused(LambdaException.class, 400,
        () -> API.updateFunctionConfiguration(r -> r.functionName(name).memorySize(1)));
    equal(small.awsErrorDetails().errorCode(), "ValidationException");
    API.putFunctionConcurrency(r -> r.functionName(name).reservedConcurrentExecutions(0));
    var throttled = refused(TooManyRequestsException.class, 429, () -> API.invoke(r -> r.functionName(name)));
    equal(throttled.reasonAsString(), "ReservedFunctionConcurrentInvocationLimitExceeded");
    equal(throttled.isThrottlingException() && throttled.numAttempts() > 1, true);
    try (var once = LambdaClient.builder().region(REGION)
        .overrideConfiguration(c -> c.retryStrategy(s -> s.maxAttempts(1))).build()) {
      var busy = refused(TooManyRequestsException.class, 429, () -> once.invoke(r -> r.functionName("busy")));
      equal(busy.retryAfterSeconds(), "2");
    }
  }

  static void signing() throws Exception {
    String id = System.getenv("AWS_ACCESS_KEY_ID");
    String secret = System.getenv("AWS_SECRET_ACCESS_KEY");
    as(AwsSessionCredentials.create(id, secret, "a/b+c=="));
    var wrong = refused(LambdaException.class, 403, () -> as(AwsBasicCredentials.create(id, "no")));
    equal(wrong.awsErrorDetails().errorCode(), "InvalidSignatureException");
    var unknown = refused(LambdaException.class, 403, () -> as(AwsBasicCredentials.create("NO", secret)));
    equal(unknown.awsErrorDetails().errorCode(), "UnrecognizedClientException");
  }

  static void resources() throws Exception {
    String name = create(r -> {});
    String arn = "arn:aws:lambda:%s:%s:function:%s".formatted(REGION, ACCOUNT, name);
    API.tagResource(r -> r.resource(arn).tags(Map.of("a b", "ü", "c", "/")));
    API.untagResource(r -> r.resource(arn).tagKeys("a b"));
    equal(API.listTags(r -> r.resource(arn)).tags(), Map.of("c", "/"));
    API.addPermission(r -> r.functionName(name).statementId("s3").action("lambda:InvokeFunction")
        .principal("s3.amazonaws.com"));
    equal(API.getPolicy(r -> r.functionName(name)).policy().contains("\"Sid\":\"s3\""), true);
    API.removePermission(r -> r.functionName(name).statementId("s3"));
    refused(ResourceNotFoundException.class, 404, () -> API.getPolicy(r -> r.functionName(name)));
  }

  // What the checks share

  /** A function that is active; its name. */
  static String create(Consumer<CreateFunctionRequest.Builder> more) throws Exception {
    String name = "java-" + NUMBERS.incrementAndGet();
    var code = SdkBytes.fromByteArray(Files.readAllBytes(Path.of(System.getenv("CODE"))));
    API.createFunction(r -> r.functionName(name).role("arn:aws:iam::%s:role/any".formatted(ACCOUNT))
        .handler("index.handler").runtime(System.getenv("RUNTIME")).code(c -> c.zipFile(code))
        .applyMutation(more));
    API.waiter().waitUntilFunctionActiveV2(r -> r.functionName(name));
    return name;
  }

  static void reached(String id, String state) throws Exception {
    while (!API.getEventSourceMapping(r -> r.uuid(id)).state().equals(state)) {
      Thread.sleep(50);
    }
  }

  static ListFunctionsResponse as(AwsCredentials credentials) {
    var provider = StaticCredentialsProvider.create(credentials);
    try (var client = LambdaClient.builder().region(REGION).credentialsProvider(provider).build()) {
      return client.listFunctions();
    }
  }

  /** The exception of the SDK's class that a call ends with. */
  static <E extends LambdaException> E refused(Class<E> kind, int status, Callable<?> call) throws Exception {
    try {
      call.call();
    } catch (LambdaException error) {
      equal(error.getClass(), kind);
      equal(error.statusCode(), status);
      equal(error.requestId() == null ? 0 : error.requestId().length(), 36);
      return kind.cast(error);
    }
    throw new AssertionError("it was done, and " + kind.getSimpleName() + " expected");
  }

  static void equal(Object found, Object expected) {
    if (!Objects.equals(found, expected)) {
      throw new AssertionError("found " + found + ", and expected " + expected);
    }
  }

  public static void main(String[] wanted) throws Exception {
    Map<String, Check> checks = new LinkedHashMap<>();
    checks.put("functions", Java::functions);
    checks.put("invoking", Java::invoking);
    checks.put("streams", Java::streams);
    checks.put("aliases", Java::aliases);
    checks.put("mappings", Java::mappings);
    checks.put("refusals", Java::refusals);
    checks.put("signing", Java::signing);
    checks.put("resources", Java::resources);
    var threads = Executors.newFixedThreadPool(checks.size());
    Map<String, Future<?>> running = new LinkedHashMap<>();
    checks.forEach((name, check) -> running.put(name, threads.submit(() -> {
      check.run();
      return null;
    })));
    int failed = 0;
    for (var each : running.entrySet()) {
      try {
        each.getValue().get();
        System.out.println("ok check_" + each.getKey());
      } catch (ExecutionException error) {
        failed += 1;
        System.out.println("FAILED check_" + each.getKey());
        error.getCause().printStackTrace(System.out);
      }
    }
    System.exit(failed);
  }
}
