"""A runtime that streams, in plain HTTP: a module that asks for invocations itself when it is imported. So it
has the interpreter of the tests, which a `bootstrap` could not find everywhere.
"""

from __future__ import annotations

from streamfn.ports import Answer, Environment, Request
from streamfn.response_streams import PieceStream
from tests.runtimes.process.environments import Made

INDEX = '''\
import base64, http.client, json, os, socket, time

API = os.environ["AWS_LAMBDA_RUNTIME_API"]
INVOCATION = "/2018-06-01/runtime/invocation/"


def wait(port):
    """Goes on when the test closes its end."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.recv(1)


class Stream:
    """An answer that is written piece by piece, on the connection that asked for work."""

    def __init__(self, connection, request_id, kind):
        self.connection = connection
        self.connection.putrequest("POST", f"{INVOCATION}{request_id}/response")
        self.connection.putheader("Lambda-Runtime-Function-Response-Mode", "streaming")
        self.connection.putheader("Transfer-Encoding", "chunked")
        self.connection.putheader("Trailer", "Lambda-Runtime-Function-Error-Type")
        self.connection.putheader("Trailer", "Lambda-Runtime-Function-Error-Body")
        if kind:
            self.connection.putheader("Content-Type", kind)
        self.connection.endheaders()

    def write(self, data):
        self.connection.send(b"%x\\r\\n%b\\r\\n" % (len(data), data))

    def end(self, error=None):
        trailers = b""
        if error:
            body = base64.b64encode(json.dumps(error).encode()).decode()
            trailers = f"Lambda-Runtime-Function-Error-Type: {error['errorType']}\\r\\n".encode()
            trailers += f"Lambda-Runtime-Function-Error-Body: {body}\\r\\n".encode()
        self.connection.send(b"0\\r\\n" + trailers + b"\\r\\n")
        status = self.connection.getresponse().status
        self.connection.close()
        return status


def act(connection, event, request_id):
    stream = Stream(connection, request_id, event.get("type"))
    for step in event["steps"]:
        match step:
            case str(text):
                stream.write(text.encode())
            case {"wait": port}:
                wait(port)
            case {"fill": size}:
                for _ in range(size // 65_536):
                    stream.write(bytes(65_536))
            case {"exit": status}:
                os._exit(status)
            case {"hang": _}:
                time.sleep(3600)
            case {"break": _}:
                stream.connection.close()
                error = json.dumps({"errorType": "Broken", "errorMessage": "off"})
                other = http.client.HTTPConnection(API)
                other.request("POST", f"{INVOCATION}{request_id}/response", b"again")
                print("again", other.getresponse().status, flush=True)
                other.close()
                other.request("POST", f"{INVOCATION}{request_id}/error", error)
                other.getresponse()
                return
    print("ended", stream.end(event.get("error")), flush=True)


while True:
    connection = http.client.HTTPConnection(API)
    connection.request("GET", INVOCATION + "next")
    answer = connection.getresponse()
    request_id = answer.headers["Lambda-Runtime-Aws-Request-Id"]
    event = json.loads(answer.read())
    if event.get("do") == "stream":  # as the suite of runtimes asks for it
        event["steps"] = [*event["pieces"], {"fill": event.get("fill", 0)}]
        if event.get("then") == "hang":
            event["steps"].append({"hang": 1})
        elif event.get("then") == "raise":
            event["error"] = {"errorType": "ValueError", "errorMessage": event["message"]}
    if "steps" in event:
        act(connection, event, request_id)
    else:
        connection.request("POST", f"{INVOCATION}{request_id}/response", json.dumps(event))
        connection.getresponse().read()
        connection.close()
'''


class Asked:
    """An invocation whose answer is taken as a stream."""

    def __init__(self, request: Request) -> None:
        self.stream = PieceStream()
        self._request = request._replace(stream=self.stream)
        self._answer: Answer | None = None

    @property
    def answered(self) -> bool:
        return self._answer is not None

    @property
    def answer(self) -> Answer:
        assert self._answer is not None
        return self._answer

    async def run(self, environment: Environment) -> None:
        try:
            self._answer = await environment.invoke(self._request)
        finally:
            self.stream.end()

    async def all(self) -> bytes:
        """All pieces that come."""
        return b"".join([piece async for piece in self.stream.pieces()])


def written(made: Made) -> Made:
    """A function that streams the `steps` of its events, and echoes events without."""
    made.write("index.py", INDEX)
    return made
