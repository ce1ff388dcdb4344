"""Thousands of requests made from openapi.yaml over connections that are kept: every answer is
below 500 and as documented, refusals name the field, and the daemon is well at the end.

TRISTILL_FUZZ_REQUESTS (default 6000) and TRISTILL_FUZZ_SEED (default 1) choose the run;
TRISTILL_BIN may name the programs of a sanitizer's build.
"""

import collections
import concurrent.futures
import http.client
import json
import os
import re
import shutil

from programs import CONTRACT, Daemon
from request_maker import RequestMaker

N_REQUESTS = int(os.environ.get("TRISTILL_FUZZ_REQUESTS", 6000))
SEED = int(os.environ.get("TRISTILL_FUZZ_SEED", 1))
N_CONNECTIONS = 4
ANYWHERE = {403, 414, 415, 431}  # of the request itself, on every route: see info.description
OF_THE_PATH = re.compile(rb'"message":"the path[^"]*","param":null')  # 400, on every route, too
OF_THE_BODY = re.compile(rb'"message":"the body[^"]*","param":null')  # 400, where none is read
SANITIZERS = re.compile(r"ERROR: AddressSanitizer|ERROR: LeakSanitizer|WARNING: ThreadSanitizer|"
                        r"runtime error:")


def complaint(request, status, headers, body):
    """What is wrong with an answer; None when nothing is."""
    if status >= 500:
        return f"status {status}"
    if request.refused and status < 400:
        return f"status {status} to what the document forbids"
    try:
        unread = OF_THE_PATH.search(body) or request.reads_none and OF_THE_BODY.search(body)
        if status in ANYWHERE or status == 400 and unread:
            CONTRACT.check({"$ref": "#/components/schemas/Error"}, json.loads(body), f"{status}")
            return None
        CONTRACT.check_response(request.method, request.path, status,
                                headers.get("content-type", ""), body)
    except AssertionError as violation:
        return str(violation)
    if status == 400 and request.refused and request.names:
        error = json.loads(body)["error"]
        if error["param"] is None or not any(name in error["message"] for name in request.names):
            return f"the refusal names none of {request.names}"
    return None


def ask(daemon, maker, indices, statuses):
    """Sends the requests of some numbers over one connection, adds the statuses of the answers;
    [(number, request, complaint)]."""
    found = []
    connection = daemon.connect(timeout=60)
    for index in indices:
        request = maker.make(index)
        for attempt in (1, 2):
            try:
                connection.request(request.method, request.path, request.body, request.headers)
                response = connection.getresponse()
                body = response.read()
                break
            except (http.client.HTTPException, OSError) as failure:
                connection.close()  # the next request opens it again
                if attempt == 2:
                    found.append((index, request, f"no answer: {failure!r}"))
        else:
            continue
        statuses.append(response.status)
        headers = {name.lower(): value for name, value in response.getheaders()}
        if wrong := complaint(request, response.status, headers, body):
            found.append((index, request, f"{wrong}\n    {response.status} {body[:500]!r}"))
    connection.close()
    return found


def test_no_request_is_answered_with_a_defect(model, tiny_job, tmp_path):
    nowhere = tiny_job | {"data": {"corpora": [{"name": "there-is-no-such-corpus"}]}}
    served = tmp_path / "judged.gguf"  # the document's examples, which delete too, do not name it
    shutil.copy(model, served)
    with Daemon(tmp_path / "data", served, api_key="key-of-the-test") as daemon:
        maker = RequestMaker(CONTRACT, SEED, {"POST /jobs": nowhere}, [served.stem],
                             daemon.headers())
        statuses = []
        with concurrent.futures.ThreadPoolExecutor(N_CONNECTIONS) as pool:
            asking = [pool.submit(ask, daemon, maker, range(i, N_REQUESTS, N_CONNECTIONS),
                                  statuses) for i in range(N_CONNECTIONS)]
            found = sum((done.result() for done in asking), [])
        told = "\n".join(f"seed {SEED} request {i}: {request}\n    {wrong}"
                         for i, request, wrong in sorted(found, key=lambda one: one[0])[:20])
        assert not found, f"{len(found)} of {N_REQUESTS} answers are wrong:\n{told}"
        assert daemon.process.poll() is None, daemon.log_text()
        assert daemon.get("/health") == {"status": "ok"}
        assert daemon.stop() == 0
    assert not [line for line in daemon.log if SANITIZERS.search(line)]
    seen = collections.Counter(statuses)
    assert seen[200] > N_REQUESTS / 10 and seen[400] > N_REQUESTS / 10, seen
