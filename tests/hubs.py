"""A stand-in for the Hugging Face hub on this machine, which speaks what `llmrec.hub` and `datasets` need of its interface."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote

_NAME = r"((?:datasets/)?[^/?]+/[^/?]+)"


class Hub(ThreadingHTTPServer):
    """branches: name of a repository, for a data set with "datasets/" before it -> branch -> its last commit. commits: commit
    -> path -> bytes. token: the one that it lets in; None lets everybody in. private: name -> whether it was made private.
    gated: names for which access is to be asked for. asked: the paths of all requests."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.branches: dict[str, dict[str, str]] = {}
        self.commits: dict[str, dict[str, bytes]] = {}
        self.token: str | None = None
        self.private: dict[str, bool] = {}
        self.gated: set[str] = set()
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
        path = _named(unquote(self.path))
        if found := re.fullmatch(rf"/api/{_NAME}/revision/([^?]+)(?:\?.*)?", path):
            self._about(*found.groups())
        elif found := re.fullmatch(rf"/api/{_NAME}/tree/([^/?]+)(?:/([^?]*))?(?:\?(.*))?", path):
            if self._known(*found.group(1, 2)):
                self._tree(self.server.files(*found.group(1, 2)), found[3] or "", "recursive=true" in (found[4] or "").lower())
        elif found := re.fullmatch(rf"/api/{_NAME}(?:\?.*)?", path):
            self._known(found[1], "main") and self._json(
                {"id": found[1].removeprefix("datasets/"), "sha": self._commit(found[1], "main"), "siblings": []}
            )
        else:
            self._file(path, True)

    def do_HEAD(self) -> None:
        self._file(unquote(self.path), False)

    def do_POST(self) -> None:
        body, path = self.rfile.read(int(self.headers.get("Content-Length", 0))), _named(unquote(self.path))
        if self.server.token is not None and self.headers.get("Authorization") != f"Bearer {self.server.token}":
            return self._json({"error": "Invalid credentials"}, 401)
        if found := re.fullmatch(rf"/api/{_NAME}/paths-info/([^/?]+)", path):
            return self._paths(self.server.files(*found.groups()), parse_qs(body.decode()).get("paths", []))
        if path == "/api/repos/create":
            name = json.loads(body)["name"]
            name = f"{json.loads(body).get('organization') or 'me'}/{name}"
            if name in self.server.branches:
                return self._json({"error": "there already", "url": f"{self.server.url}/{name}"}, 409)
            self.server.private[name] = json.loads(body).get("visibility") == "private"
            self.server.put(name, {".gitattributes": b""})
            return self._json({"url": f"{self.server.url}/{name}"})
        if found := re.fullmatch(rf"/api/{_NAME}/branch/([^/]+)", path):
            if found[2] in self.server.branches[found[1]]:
                return self._json({"error": "there already"}, 409)
            self.server.put(found[1], dict(self.server.files(found[1])), found[2])
            return self._json({})
        if found := re.fullmatch(rf"/api/{_NAME}/preupload/([^/?]+)(?:\?.*)?", path):
            asked = json.loads(body)["files"]
            return self._json({"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in asked]})
        if path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if found := re.fullmatch(rf"/api/{_NAME}/commit/([^/?]+)(?:\?.*)?", path):
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

    def _tree(self, files: dict[str, bytes], under: str, recursive: bool) -> None:
        """Files and folders below a folder."""
        here = {name: data for name, data in files.items() if name.startswith(f"{under}/" if under else "")}
        if not here and under:
            return self._json({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
        depth = under.count("/") + 1 if under else 0
        folders = {parent for name in here for parent in _parents(name) if parent.count("/") >= depth}
        found = [_file_info(name, data) for name, data in here.items() if recursive or name.count("/") == depth]
        found += [_folder_info(name) for name in sorted(folders) if recursive or name.count("/") == depth]
        return self._json(found)

    def _paths(self, files: dict[str, bytes], paths: list[str]) -> None:
        """What each of some paths is; nothing of those that are not there."""
        folders = {parent for name in files for parent in _parents(name)}
        found = [_file_info(path, files[path]) for path in paths if path in files]
        self._json(found + [_folder_info(path) for path in paths if path in folders])

    def _about(self, name: str, revision: str) -> None:
        if self._known(name, revision):
            self._json({"id": name.removeprefix("datasets/"), "sha": self._commit(name, revision), "siblings": []})

    def _known(self, name: str, revision: str) -> bool:
        """Whether there is such a repository and revision; the answer is given where there is none."""
        token = self.server.token
        hidden = self.server.private.get(name) and token and self.headers.get("Authorization") != f"Bearer {token}"
        if name in self.server.gated:
            self._json({"error": "Access is restricted"}, 403, {"X-Error-Code": "GatedRepo"})
        elif name not in self.server.branches or hidden:
            self._json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        elif self._commit(name, revision) not in self.server.commits:
            self._json({"error": "Revision not found"}, 404, {"X-Error-Code": "RevisionNotFound"})
        else:
            return True
        return False

    def _file(self, path: str, send: bool) -> None:
        found = re.fullmatch(r"/((?:datasets/)?[^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
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


def _named(path: str) -> str:
    """The path with the kind of a repository as this server names it: none before a model."""
    return path.replace("/api/models/", "/api/", 1)


def _parents(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def _file_info(name: str, data: bytes) -> dict[str, object]:
    return {"type": "file", "path": name, "size": len(data), "oid": _oid(data)}


def _folder_info(name: str) -> dict[str, object]:
    return {"type": "directory", "path": name, "size": 0, "oid": hashlib.sha1(name.encode()).hexdigest()}


def _oid(data: bytes) -> str:
    """As git names a file."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
