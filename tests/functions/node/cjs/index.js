// A function as CommonJS has them: asynchronous, and with a callback.
let count = 0;

exports.handler = async (event, context) => {
  count += 1;
  console.log("seen", count);
  return { event, count, id: context.awsRequestId, name: context.functionName, left: context.getRemainingTimeInMillis() > 0 };
};

exports.calls_back = (event, context, callback) => {
  setTimeout(() => callback(null, { called: event.value }), 1);
};

exports.raises = async (event) => {
  class OutOfStock extends Error {
    constructor(message) {
      super(message);
      this.name = "OutOfStock";
    }
  }
  throw new OutOfStock(event.what);
};

exports.rejects_later = async () => {
  Promise.reject(new Error("nobody listens"));
  await new Promise((resolve) => setTimeout(resolve, 5000));
};

exports.hangs = async () => new Promise((resolve) => setTimeout(resolve, 3_600_000));
