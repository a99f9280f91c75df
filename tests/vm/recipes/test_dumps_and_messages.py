"""docs/recipes/hooks.md: a heap dump before a restart, and a message at it."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from kit import eventually, run, write_unit
from recipes.page import APPS, Page, assert_is_like, install, install_app
from recipes.service import DEADLINE_S, Recipe, assert_page_shows_this_run
from recipes.web import answers, leak_until

PAGE = Page("recipes/hooks.md")
SERVICE_OF_JAVA = Page("recipes/java.md").file("/etc/systemd/system/app.service")
APP = Recipe("app", is_machine_wide=True)
DUMPS = Path("/var/lib/java-heap-dump")
REPORTS = Recipe("reports", is_machine_wide=True)
LEAK = Path("/srv/reports/leak")
HEAP = Path("/var/lib/reports/heap")


@contextmanager
def installed() -> Iterator[None]:
    """The page's files are in their places, and away again: other pages have services of the same names."""
    install(SERVICE_OF_JAVA, *PAGE.files)
    try:
        yield
    finally:
        for file in PAGE.files:
            Path(file.path).unlink()
        run("systemctl", "daemon-reload")


class Chat(BaseHTTPRequestHandler):
    """Takes messages as a chat's webhook does."""

    messages: list[str] = []  # noqa: RUF012  # the server makes a handler for each request

    def do_POST(self) -> None:
        """One message."""
        self.messages.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.send_response(204)
        self.end_headers()


@contextmanager
def chat() -> Iterator[list[str]]:
    """The messages that came to the webhook, which is here and not where the page has it."""
    with HTTPServer(("127.0.0.1", 0), Chat) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/hooks/1234"
        write_unit("tell@.service.d/webhook.conf", f"[Service]\nEnvironment=WEBHOOK={url}\n")
        run("systemctl", "daemon-reload")
        yield Chat.messages
        server.shutdown()


def test_the_heap_of_a_java_service_is_kept_when_it_is_restarted() -> None:
    run("javac", "-d", "/srv/app", str(APPS / "App.java"))
    with installed(), APP.running():
        eventually(answers, "Java answers", DEADLINE_S)
        APP.wait_until_measured()
        print(run("memory-monitor", "--check", APP.unit))
        before = APP.main_process()
        leak_until(lambda: APP.says("held: "))
        APP.wait_until_says(": signalled: ")
        (dump,) = DUMPS.iterdir()
        assert dump.read_bytes().startswith(b"JAVA PROFILE 1.0.2\0")
        APP.wait_for_another(before)
        assert_page_shows_this_run(PAGE, "journalctl --no-hostname -u app -u java-heap-dump@app")
        eventually(answers, "it answers again", DEADLINE_S)
        first_ns = dump.stat().st_mtime_ns
        run("systemctl", "start", "java-heap-dump@app")
        assert [dump] == list(DUMPS.iterdir()), "one is kept"
        assert dump.stat().st_mtime_ns > first_ns
        # All JVMs have the PID 0, to jcmd: of a service that doesn't run there is no dump.
        run("systemctl", "start", "java-heap-dump@absent")
        assert [dump] == list(DUMPS.iterdir())


def test_the_heap_of_a_python_service_is_kept_and_a_message_sent_when_it_is_restarted() -> None:
    install_app("worker.py", str(LEAK.parent))
    LEAK.write_text("0")
    with installed(), chat() as messages, REPORTS.running():
        REPORTS.wait_until_measured()
        print(run("memory-monitor", "--check", REPORTS.unit))
        before = REPORTS.main_process()
        LEAK.write_text("8")
        REPORTS.wait_until_says("held: ")
        LEAK.write_text("0")
        REPORTS.wait_until_says(": signalled: ")
        assert HEAP.exists()
        REPORTS.wait_for_another(before)
        REPORTS.wait_until_says("active again after")
        (code,) = (block for block in PAGE.blocks if block.startswith("$ python3 -c"))
        assert_page_shows_this_run(PAGE, code.splitlines()[0].removeprefix("$ "))
        eventually(lambda: messages, "the message came", DEADLINE_S, lambda: "\n".join(REPORTS.log()))
        (message,) = messages
        print(message)
        assert json.loads(message)["text"].startswith("vm: reports.service: ")
        assert_is_like([block.strip() for block in PAGE.blocks if block.startswith("{")], [message])
        log = "journalctl --no-hostname -u reports -u python-heap-dump@reports -u tell@reports"
        assert_page_shows_this_run(PAGE, log)
