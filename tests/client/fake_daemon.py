"""A small HTTP server that answers from a table, for tests of the client alone.

    with FakeDaemon() as daemon:
        daemon.on("GET", "/health", json_answer({"status": "ok"}))

A route is a function of the Call that returns (status, content type, bytes); a list of them is
used up one call after another, the last one stays. `raw` answers write to the socket themselves.
"""

import dataclasses
import http.server
import json
import socketserver
import ssl
import threading


@dataclasses.dataclass
class Call:
    method: str
    path: str
    headers: dict
    body: bytes

    def json(self):
        return json.loads(self.body)


def json_answer(value, status=200):
    return lambda call: (status, "application/json", json.dumps(value).encode())


def error_answer(status, message, param=None, code=None):
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return json_answer({"error": error}, status)


def sse_answer(*events, done=True):
    """events: (id or None, object) pairs."""
    text = ": comment\n\n"
    for event_id, value in events:
        text += (f"id: {event_id}\n" if event_id is not None else "")
        text += f"data: {json.dumps(value)}\n\n"
    text += "data: [DONE]\n\n" if done else ""
    return lambda call: (200, "text/event-stream", text.encode())


def broken_answer(answer):
    """The answer's bytes, but promised to be longer: the connection breaks in the middle."""
    def respond(call):
        status, kind, body = answer(call)
        return status, kind, body, len(body) + 1000
    return respond


def open_answer(answer):
    """The answer's bytes, and then nothing: the connection stays open until the client leaves."""
    def respond(call):
        status, kind, body = answer(call)
        return status, kind, body, len(body) + 1000, "wait"
    return respond


class UnixServer(socketserver.ThreadingUnixStreamServer):
    """An HTTP server on a socket with a path."""

    def get_request(self):
        connection, _ = super().get_request()
        return connection, ("unix", 0)  # what the HTTP handler takes for an address


class FakeDaemon:
    """Listens on a free port; on the path `socket` where one is given; with TLS where
    `certificate` names the files (certificate, key)."""

    def __init__(self, socket=None, certificate=None):
        self.calls = []
        self.routes = {}
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                length = int(self.headers.get("Content-Length") or 0)
                headers = {k.lower(): v for k, v in self.headers.items()}
                call = Call(self.command, self.path, headers, self.rfile.read(length))
                outer.calls.append(call)
                route = outer.route_of(call)
                status, kind, body, *promised = route(call)
                waits = promised[1:] == ["wait"]
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(promised[0] if promised else len(body)))
                if promised:
                    self.send_header("Connection", "close")
                    self.close_connection = True
                self.end_headers()
                self.wfile.write(body)
                if waits:
                    self.wfile.flush()
                    self.connection.recv(1)
                    outer.left.set()

            do_GET = do_POST = do_DELETE = answer

            def log_message(self, *args):
                pass

        self.left = threading.Event()  # a client left an open answer
        if socket:
            self.server = UnixServer(str(socket), Handler)
            self.url = f"unix:{socket}"
        else:
            self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
            self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.server.daemon_threads = True
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
            self.url = self.url.replace("http:", "https:")

    def on(self, method, path, *answers):
        self.routes[method, path] = list(answers)

    def route_of(self, call):
        answers = (self.routes.get((call.method, call.path)) or
                   self.routes.get((call.method, call.path.split("?")[0])))
        if not answers:
            return error_answer(404, f"{call.method} {call.path} is unknown to the fake")
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def __enter__(self):
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
