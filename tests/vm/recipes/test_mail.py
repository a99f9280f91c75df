"""docs/recipes/hooks.md: a message by mail, passed on by msmtp to a server that keeps it."""

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from pathlib import Path
from typing import Final

from kit import eventually, journal, run
from recipes.page import Page, install
from recipes.service import DEADLINE_S, SECTION
from shipped import MachineWide, Monitored

PAGE: Final = Page("recipes/hooks.md")


class Mailbox(socketserver.StreamRequestHandler):
    """Takes mail as a server that believes everything (RFC 5321)."""

    mails: list[bytes] = []  # noqa: RUF012  # the server makes a handler for each connection

    def handle(self) -> None:
        """One connection."""
        self.wfile.write(b"220 mail.example\r\n")
        for line in self.rfile:
            verb = line[:4].upper().rstrip()
            if verb == b"QUIT":
                self.wfile.write(b"221 bye\r\n")
                return
            if verb == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                self.mails.append(b"".join(iter(self.rfile.readline, b".\r\n")))
            self.wfile.write(b"250 yes\r\n")


@contextmanager
def mail_server() -> Iterator[list[bytes]]:
    """The mails that msmtp passes on."""
    with socketserver.TCPServer(("127.0.0.1", 0), Mailbox) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        configuration = (
            f"account default\nhost 127.0.0.1\nport {server.server_address[1]}\nfrom root@vm.example\n"
        )
        Path("/etc/msmtprc").write_text(configuration)
        yield Mailbox.mails
        server.shutdown()


def words_of(text: str) -> list[list[str]]:
    """Line by line: how wide a table is depends on the numbers in it."""
    return [line.split() for line in text.splitlines() if line.strip()]


def said_of_it() -> str:
    """What the service that mails has logged."""
    return "\n".join(str(entry["MESSAGE"]) for entry in journal("--unit=mail@leaky.service"))


def test_a_request_is_mailed_with_what_memmonctl_knows_of_it() -> None:
    install(*(file for file in PAGE.files if "mail" in file.path))
    service = Monitored("leaky", service=f"{SECTION}OnRequest=mail@%N.service\n")
    run("systemctl", "daemon-reload")
    with mail_server() as mails, MachineWide() as monitor:
        run("systemctl", "start", service.unit)
        monitor.wait_for(r"leaky\.service: ok: ")
        service.tell("grow 40")
        eventually(lambda: mails, "the mail came", DEADLINE_S, said_of_it)
        monitor.wait_for(r"leaky\.service: .*active again")
        run("systemctl", "stop", service.unit)
    (mail,) = mails
    print(mail.decode())
    message = message_from_bytes(mail)
    assert message["To"] == "root"
    assert message["Subject"] == "vm: leaky.service was asked to restart"
    (page,) = (block for block in PAGE.blocks if "Subject: vm:" in block)
    *shown, of_the_request = words_of(page)
    assert [line for line in shown if line not in words_of(mail.decode())] == []
    assert of_the_request[2] == words_of(mail.decode())[-1][2] == "leaky.service"
