"""An object store on this machine, in essence that of S3: whole objects by key, a list by prefix, no rename.

`serve` runs the server; `ObjectStore` is the file system of fsspec for URLs ``objects://HOST:PORT/bucket/key``.
"""

from __future__ import annotations

import http.server
import io
import json
import threading
import urllib.error
import urllib.parse
import urllib.request
from contextlib import contextmanager

import fsspec
from fsspec.spec import AbstractFileSystem


class Handler(http.server.BaseHTTPRequestHandler):
    """One request; where the server is lost, none is answered any more."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, code, body=b""):
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        key, _, prefix = urllib.parse.unquote(self.path).partition("?list=")
        objects = self.server.objects
        if self.server.lost:
            self.answer(503)
        elif prefix:
            found = {k: len(v) for k, v in sorted(objects.items()) if k.startswith(prefix)}
            self.answer(200, json.dumps(found).encode())
        elif key in objects:
            self.answer(200, objects[key])
        else:
            self.answer(404)

    def do_PUT(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        key = urllib.parse.unquote(self.path)
        if self.server.puts_left == 0:
            self.server.lost = True
        if self.server.lost:
            self.answer(503)
            return
        self.server.puts_left -= 1
        self.server.objects[key] = body
        self.answer(200)

    def do_DELETE(self):
        self.answer(503 if self.server.lost else 204)
        if not self.server.lost:
            self.server.objects.pop(urllib.parse.unquote(self.path), None)


@contextmanager
def serve():
    """Run the server; its ``objects`` are what it holds, and after ``puts_left`` more of them it is ``lost``."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.objects, server.lost, server.puts_left = {}, False, -1
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        fsspec.register_implementation("objects", ObjectStore, clobber=True)
        try:
            yield server, f"objects://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class ObjectStore(AbstractFileSystem):
    """File system of an object store: paths are ``HOST:PORT/key``."""

    protocol = "objects"
    cachable = False

    def _call(self, method, path, body=None, query=""):
        host, _, key = self._strip_protocol(path).partition("/")
        url = f"http://{host}/{urllib.parse.quote(key)}{query}"
        request = urllib.request.Request(url, data=body, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.read()
        except urllib.error.HTTPError as e:
            e.close()
            if e.code == 404:
                raise FileNotFoundError(path) from None
            raise OSError(f"{e.code} from {url}") from None

    def _list(self, path):
        host, _, key = self._strip_protocol(path).partition("/")
        found = json.loads(self._call("GET", host, query=f"?list=/{urllib.parse.quote(key)}"))
        return {f"{host}{k}": size for k, size in found.items()}

    def ls(self, path, detail=True, **kwargs):
        path = self._strip_protocol(path).rstrip("/")
        entries = {}
        for name, size in self._list(path).items():
            if name == path:
                entries[name] = {"name": name, "size": size, "type": "file"}
            elif name.startswith(f"{path}/"):
                first, slash, _ = name.removeprefix(f"{path}/").partition("/")
                child = f"{path}/{first}"
                kind = {"size": 0, "type": "directory"} if slash else {"size": size, "type": "file"}
                entries[child] = {"name": child, **kind}
        if not entries:
            raise FileNotFoundError(path)
        return list(entries.values()) if detail else list(entries)

    def _open(self, path, mode="rb", **kwargs):
        return io.BytesIO(self._call("GET", path)) if mode == "rb" else Upload(self, path)

    def cat_file(self, path, start=None, end=None, **kwargs):
        return self._call("GET", path)[start:end]

    def pipe_file(self, path, value, mode="overwrite", **kwargs):
        self._call("PUT", path, body=bytes(value))

    def put_file(self, lpath, rpath, **kwargs):
        with open(lpath, "rb") as file:
            self.pipe_file(rpath, file.read())

    def cp_file(self, path1, path2, **kwargs):
        self.pipe_file(path2, self.cat_file(path1))

    def rm_file(self, path):
        self._call("DELETE", path)

    def rm(self, path, recursive=False, maxdepth=None):
        for name in self._list(path) if recursive else [path]:
            self.rm_file(name)

    def makedirs(self, path, exist_ok=False):
        pass

    def mkdir(self, path, create_parents=True, **kwargs):
        pass


class Upload(io.BytesIO):
    """What is written becomes an object when it is closed."""

    def __init__(self, fs, path):
        super().__init__()
        self.fs, self.path = fs, path

    def close(self):
        if not self.closed:
            self.fs.pipe_file(self.path, self.getvalue())
        super().close()
