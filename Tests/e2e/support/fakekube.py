#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A small Kubernetes API server for one custom resource: conflicts, watches, bookmarks, expiry.

    fakekube.py ADDRESS PORT TOKEN CERTIFICATE KEY

It answers as the real one does in what the agent relies on: a PUT needs the newest resourceVersion
(409) and any at all (422), a POST needs an object that is not there (409), a DELETE honours
preconditions, a watch from a version that was compacted ends in an ERROR event of code 410, and
bookmarks carry versions. No API server was recorded: answers have the form of those that users have
quoted, and Tests/escra-agentTests/KubernetesWireTests.swift says where.
POST /control/label writes labels, annotations and a status into all objects, /control/compact
forgets the history, /control/hangup ends all watches, /control/bookmark
sends a bookmark to all of them, /control/count tells how many requests there were.
"""
import http.server
import json
import queue
import ssl
import sys
import threading
import time
import urllib.parse
import uuid

GROUP = "/apis/escra.io/v1alpha1"
PLURAL = "escraapplications"


class Store:
    def __init__(self):
        self.lock = threading.Lock()
        self.version, self.compacted = 1, 0
        self.objects, self.events, self.watches = {}, [], set()
        self.requests = 0

    def change(self, kind, key, value):
        """Makes a change known; with the lock held."""
        self.version += 1
        value["metadata"]["resourceVersion"] = str(self.version)
        event = {"type": kind, "object": value}
        self.events.append((self.version, event))
        if kind == "DELETED":
            del self.objects[key]
        else:
            self.objects[key] = value
        for watch in self.watches:
            watch.put(event)


STORE = Store()


def failure(code, reason, message, **details):
    return {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, **({"details": details} if details else {}),
        "code": code}


def about(name):
    """What a failure says of the object."""
    return {"name": name, "group": "escra.io", "kind": PLURAL}


def conflict(name, why="the object has been modified; please apply your changes to the latest "
                       "version and try again"):
    return 409, failure(
        409, "Conflict", f'Operation cannot be fulfilled on {PLURAL}.escra.io "{name}": {why}',
        **about(name))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    token = ""

    def log_message(self, *_):
        pass

    def answer(self, code, value):
        body = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def text(self, code, text):
        self.send_response(code)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def body(self):
        length = int(self.headers.get("Content-Length") or 0)
        return json.loads(self.rfile.read(length)) if length else {}

    def handle_request(self):
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        body = self.body()
        if url.path.startswith("/control/"):
            return self.control(url.path.rpartition("/")[2])
        with STORE.lock:
            STORE.requests += 1
        if self.headers.get("Authorization") != f"Bearer {self.token}":
            return self.answer(401, failure(401, "Unauthorized", "Unauthorized"))
        if url.path == f"{GROUP}/{PLURAL}" and query.get("watch") == "true":
            return self.watch(query.get("resourceVersion"))
        parts = url.path.removeprefix(GROUP + "/namespaces/").split("/")
        if not url.path.startswith(GROUP) or len(parts) not in (2, 3) or parts[1] != PLURAL:
            return self.text(404, "404 page not found\n")
        with STORE.lock:
            code, value = self.change(
                parts[0], parts[2] if len(parts) == 3 else None, body)
        return self.answer(code, value)

    do_GET = do_PUT = do_POST = do_DELETE = handle_request

    def change(self, namespace, name, body):
        key = (namespace, name or body.get("metadata", {}).get("name"))
        found = STORE.objects.get(key)
        named = f'{PLURAL}.escra.io "{key[1]}"'
        if self.command == "POST":
            if found:
                return 409, failure(
                    409, "AlreadyExists", named + " already exists", **about(key[1]))
            body["metadata"].update({
                "uid": str(uuid.uuid4()), "generation": 1,
                "creationTimestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "managedFields": [{
                    "manager": "escra-agent", "operation": "Update",
                    "apiVersion": "escra.io/v1alpha1", "fieldsType": "FieldsV1",
                    "fieldsV1": {"f:spec": {".": {}, "f:ledger": {}}}}]})
            STORE.change("ADDED", key, body)
            return 201, body
        if not found:
            return 404, failure(404, "NotFound", named + " not found", **about(key[1]))
        if self.command == "GET":
            return 200, found
        current = found["metadata"]["resourceVersion"]
        if self.command == "DELETE":
            wanted = body.get("preconditions", {}).get("resourceVersion", current)
            if wanted != current:
                return conflict(
                    key[1], "Precondition failed: ResourceVersion in precondition: "
                            f"{wanted}, ResourceVersion in object meta: {current}")
            STORE.change("DELETED", key, {**found, "metadata": {**found["metadata"]}})
            return 200, {
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
                "details": {**about(key[1]), "uid": found["metadata"]["uid"]}}
        version = body["metadata"].get("resourceVersion")
        if not version:
            return 422, failure(
                422, "Invalid", named + " is invalid: metadata.resourceVersion: Invalid value: "
                "0x0: must be specified for an update", **about(key[1]))
        if version != current:
            return conflict(key[1])
        STORE.change("MODIFIED", key, body)
        return 200, body

    def watch(self, since):
        events = queue.SimpleQueue()
        with STORE.lock:
            if since is not None and int(since) < STORE.compacted:
                first = [{"type": "ERROR", "object": failure(
                    410, "Expired", f"too old resource version: {since} ({STORE.compacted})")}]
            elif since is None:
                first = [{"type": "ADDED", "object": each} for each in STORE.objects.values()]
            else:
                first = [event for version, event in STORE.events if version > int(since)]
            STORE.watches.add(events)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for event in first:
                self.send(event)
            while not (first and first[0]["type"] == "ERROR"):
                event = events.get()
                if event is None:
                    break
                self.send(event)
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.close_connection = True
        finally:
            with STORE.lock:
                STORE.watches.discard(events)

    def send(self, event):
        line = json.dumps(event).encode() + b"\n"
        self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))

    def control(self, what):
        with STORE.lock:
            if what == "label":
                for key, value in list(STORE.objects.items()):
                    STORE.change("MODIFIED", key, {
                        **value, "status": {"seen": [True]}, "metadata": {
                            **value["metadata"], "labels": {"team": "shop"},
                            "annotations": {"example.com/note": "\"1\""}}})
            elif what == "compact":
                STORE.compacted, STORE.events = STORE.version, []
            elif what == "hangup":
                for watch in STORE.watches:
                    watch.put(None)
            elif what == "bookmark":
                for watch in STORE.watches:
                    watch.put({"type": "BOOKMARK", "object": {
                        "kind": "EscraApplication", "apiVersion": "escra.io/v1alpha1", "metadata": {
                            "resourceVersion": str(STORE.version), "creationTimestamp": None},
                        "spec": {}}})
            answer = {
                "requests": STORE.requests, "watches": len(STORE.watches),
                "objects": {"/".join(key): value for key, value in STORE.objects.items()}}
        self.answer(200, answer)


def main():
    address, port, Handler.token, certificate, key = sys.argv[1:6]
    server = http.server.ThreadingHTTPServer((address, int(port)), Handler)
    server.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
