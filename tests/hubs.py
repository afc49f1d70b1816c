"""A stand-in for the Hugging Face hub on this machine, which speaks what `llmrec.hub` needs of its HTTP interface."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote


class Hub(ThreadingHTTPServer):
    """branches: name of a repository -> branch -> its last commit. commits: commit -> path -> bytes. token: the one that it
    lets in; None lets everybody in. private: name -> whether it was made private. asked: the paths of all requests."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.branches: dict[str, dict[str, str]] = {}
        self.commits: dict[str, dict[str, bytes]] = {}
        self.token: str | None = None
        self.private: dict[str, bool] = {}
        self.asked: list[str] = []
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def files(self, name: str, revision: str = "main") -> dict[str, bytes]:
        """Path -> bytes."""
        return self.commits[self.branches[name].get(revision, revision)]

    def put(self, name: str, files: dict[str, bytes], branch: str = "main") -> str:
        """A commit of these files."""
        parts = [f"{path}{hashlib.sha256(data).hexdigest()}" for path, data in sorted(files.items())]
        commit = hashlib.sha1("".join([str(len(self.commits)), *parts]).encode()).hexdigest()
        self.commits[commit] = files
        self.branches.setdefault(name, {})[branch] = commit
        return commit


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_request(self, *_: object) -> None:
        """Keep the path of every request, and say nothing."""
        self.server.asked.append(self.path)

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        path = unquote(self.path)
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/([^?]+)(?:\?.*)?", path):
            self._about(*found.groups())
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/?]+)(?:\?.*)?", path):
            if self._known(*found.groups()):
                files = self.server.files(*found.groups())
                self._json([{"type": "file", "path": n, "size": len(d), "oid": _oid(d)} for n, d in files.items()])
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:\?.*)?", path):
            self._known(found[1], "main") and self._json(
                {"id": found[1], "sha": self._commit(found[1], "main"), "siblings": []}
            )
        else:
            self._file(path, True)

    def do_HEAD(self) -> None:
        self._file(unquote(self.path), False)

    def do_POST(self) -> None:
        body, path = self.rfile.read(int(self.headers.get("Content-Length", 0))), unquote(self.path)
        if self.server.token is not None and self.headers.get("Authorization") != f"Bearer {self.server.token}":
            return self._json({"error": "Invalid credentials"}, 401)
        if path == "/api/repos/create":
            name = json.loads(body)["name"]
            name = f"{json.loads(body).get('organization') or 'me'}/{name}"
            if name in self.server.branches:
                return self._json({"error": "there already", "url": f"{self.server.url}/{name}"}, 409)
            self.server.private[name] = json.loads(body).get("visibility") == "private"
            self.server.put(name, {".gitattributes": b""})
            return self._json({"url": f"{self.server.url}/{name}"})
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/branch/([^/]+)", path):
            if found[2] in self.server.branches[found[1]]:
                return self._json({"error": "there already"}, 409)
            self.server.put(found[1], dict(self.server.files(found[1])), found[2])
            return self._json({})
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/([^/?]+)(?:\?.*)?", path):
            asked = json.loads(body)["files"]
            return self._json({"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in asked]})
        if path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/([^/?]+)(?:\?.*)?", path):
            files = dict(self.server.files(*found.groups()))
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                elif line["key"] == "deletedFile":
                    del files[line["value"]["path"]]
            commit = self.server.put(found[1], files, found[2])
            return self._json(
                {"success": True, "commitOid": commit, "commitUrl": f"{self.server.url}/{found[1]}/commit/{commit}"}
            )
        return self._json({"error": f"unknown {path}"}, 404)

    def _commit(self, name: str, revision: str) -> str:
        return self.server.branches[name].get(revision, revision)

    def _about(self, name: str, revision: str) -> None:
        if self._known(name, revision):
            self._json({"id": name, "sha": self._commit(name, revision), "siblings": []})

    def _known(self, name: str, revision: str) -> bool:
        """Whether there is such a repository and revision; the answer is given where there is none."""
        token = self.server.token
        hidden = self.server.private.get(name) and token and self.headers.get("Authorization") != f"Bearer {token}"
        if name not in self.server.branches or hidden:
            self._json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        elif self._commit(name, revision) not in self.server.commits:
            self._json({"error": "Revision not found"}, 404, {"X-Error-Code": "RevisionNotFound"})
        else:
            return True
        return False

    def _file(self, path: str, send: bool) -> None:
        found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if not found:
            return self._json({"error": f"unknown {path}"}, 404)
        if not self._known(found[1], found[2]):
            return None
        data = self.server.files(found[1], found[2]).get(found[3])
        if data is None:
            return self._json({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", f'"{_oid(data)}"')
        self.send_header("X-Repo-Commit", self._commit(found[1], found[2]))
        self.end_headers()
        if send:
            self.wfile.write(data)
        return None

    def _json(self, value: object, status: int = 200, more: dict[str, str] | None = None) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, text in (more or {}).items():
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def _oid(data: bytes) -> str:
    """As git names a file."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
