"""A proxy between an SDK and the daemon that holds all that passes against openapi.yaml.

The SDKs talk to it as if it were the daemon; violations are collected, because an exception in
the proxy's thread would only look like a broken connection to the SDK.
"""

import gzip
import http.client
import http.server
import json
import threading

from openapi_contract import Contract

HOP_HEADERS = {"connection", "keep-alive", "transfer-encoding", "content-length", "host"}


class ContractProxy:
    def __init__(self, daemon, contract=None):
        self.violations = []
        self.calls = []  # (method, path, status)
        contract = contract or Contract.load()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def forward(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {k: v for k, v in self.headers.items() if k.lower() not in HOP_HEADERS}
                upstream = daemon.connect()
                upstream.request(self.command, self.path, body or None, headers)
                response = upstream.getresponse()
                self.send_response(response.status)
                for name, value in response.getheaders():
                    if name.lower() not in HOP_HEADERS:
                        self.send_header(name, value)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                whole = b""
                try:
                    while piece := response.read1(65536):
                        whole += piece
                        self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                    self.wfile.write(b"0\r\n\r\n")
                except OSError:  # the SDK has left: nothing whole to check
                    self.close_connection = True
                    return
                finally:
                    upstream.close()
                outer.judge(contract, self.command, self.path, body, response, whole)

            do_GET = do_POST = do_DELETE = forward

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def judge(self, contract, method, path, body, response, whole):
        self.calls.append((method, path, response.status))
        try:
            if response.getheader("content-encoding") == "gzip":
                whole = gzip.decompress(whole)
            if body and response.status == 200:
                contract.check_request(method, path, json.loads(body))
            contract.check_response(method, path, response.status,
                                    response.getheader("content-type", ""), whole)
        except Exception as violation:  # whatever it is, the test must hear of it
            self.violations.append(f"{type(violation).__name__}: {violation}")

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
