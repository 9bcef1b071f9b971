"""ClickHouse's engine behind its HTTP interface, for tests: no server of a current version is at hand
everywhere, its engine (chdb) is.

    chdb_server.py PORT FOLDER

One session on a data folder; requests are taken by threads and run one at a time. What a client sends is
the server's own wire format: the query in the body, or in `query` with the data in the body; `database`,
`default_format` and settings as parameters. An error is answered with the status, the header and the
text that the server would give.
"""

import os
import re
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

from chdb import session

BODY_MAX = 1 << 30
NOT_SETTINGS = {"query", "database", "default_format", "user", "password", "wait_end_of_query", "buffer_size"}
NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
INSERT = re.compile(r"^\s*(INSERT\s+INTO\s.*?)\s+FORMAT\s+(\w+)\s*$", re.IGNORECASE | re.DOTALL)
CODE = re.compile(r"Code: (\d+)")
UNKNOWN = {"60", "81"}


class Refused(Exception):
    """What the engine says is wrong."""


class Engine:
    """The session, used by one request at a time."""

    def __init__(self, folder):
        self.folder = folder
        self.lock = threading.Lock()
        self.session = session.Session(os.path.join(folder, "data"))
        self.database = "default"
        self.settings = {}
        # Tests ask for few rows: threads cost more than they bring.
        self.run("SET max_threads = 1", "TabSeparated")

    def answer(self, query, parameters, data):
        with self.lock:
            self.use(parameters.get("database", "default"))
            self.set({k: v for k, v in parameters.items() if k not in NOT_SETTINGS})
            form = parameters.get("default_format", "TabSeparated")
            insert = INSERT.match(query) if data is not None else None
            if insert is None:
                return self.run(query, form)
            with tempfile.NamedTemporaryFile(dir=self.folder, suffix=".rows") as file:
                file.write(data)
                file.flush()
                into, form = insert.groups()
                return self.run(f"{into} FROM INFILE '{file.name}' COMPRESSION 'none' FORMAT {form}", form)

    def use(self, database):
        if not NAME.match(database):
            raise Refused(f"Code: 81. DB::Exception: Database {database} does not exist. (UNKNOWN_DATABASE)")
        # Always: it may have been dropped, and then the server says so.
        self.run(f"USE {database}", "TabSeparated")

    def set(self, settings):
        for name in [*settings, *self.settings]:
            if not NAME.match(name):
                raise Refused(f"Code: 115. DB::Exception: Unknown setting {name}. (UNKNOWN_SETTING)")
        for name in [name for name in self.settings if name not in settings]:
            self.run(f"SET {name} = DEFAULT", "TabSeparated")
            del self.settings[name]
        for name, value in settings.items():
            if self.settings.get(name) != value:
                quoted = value.replace("\\", "\\\\").replace("'", "\\'")
                self.run(f"SET {name} = '{quoted}'", "TabSeparated")
                self.settings[name] = value

    def run(self, query, form):
        try:
            result = self.session.query(query, form)
        except Exception as error:  # Whatever the engine raises is its answer.
            raise Refused(str(error)) from error
        return result.bytes() or b"" if result is not None else b""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    engine = None
    # Headers and body leave in two writes: without this the second waits for the first one's receipt.
    disable_nagle_algorithm = True

    def do_GET(self):
        self.reply(200, b"Ok.\n")

    def do_POST(self):
        parameters = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        body = self.body()
        if body is None:
            # Cut off: nothing has happened.
            self.close_connection = True
            return
        query = parameters.get("query")
        try:
            if query is None:
                answer = self.engine.answer(body.decode(), parameters, None)
            else:
                answer = self.engine.answer(query, parameters, body)
            self.reply(200, answer)
        except Refused as refused:
            text = str(refused)
            code = CODE.search(text)
            code = code.group(1) if code else "1001"
            status = 404 if code in UNKNOWN else 500
            self.reply(status, text.encode() + b"\n", {"X-ClickHouse-Exception-Code": code})

    def body(self):
        """The whole body; None where it was cut off."""
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            length = int(self.headers.get("Content-Length", 0))
            data = self.rfile.read(length) if length <= BODY_MAX else b""
            return data if len(data) == length else None
        chunks, total = [], 0
        while True:
            line = self.rfile.readline(1024)
            if not line.endswith(b"\n"):
                return None
            size = int(line.split(b";")[0], 16)
            data = self.rfile.read(size + 2)
            total += size
            if len(data) != size + 2 or total > BODY_MAX:
                return None
            if size == 0:
                return b"".join(chunks)
            chunks.append(data[:-2])

    def reply(self, status, body, headers=None):
        self.send_response(status)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            # Said, as a server says it: else the client sends its next request into what is closing.
            self.send_header("Connection", "close")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, address):
        # Whoever has cut the connection knows.
        if not isinstance(sys.exception() if hasattr(sys, "exception") else sys.exc_info()[1], ConnectionError):
            super().handle_error(request, address)


def main():
    port, folder = int(sys.argv[1]), sys.argv[2]
    os.makedirs(folder, exist_ok=True)
    Handler.engine = Engine(folder)
    Server(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    main()
